import type { z } from 'zod';
import { type Method, type RouteName, splitRequestLine } from './request-lines.ts';
import * as schema from './schema.ts';

/** One call of the local API: the server binds a handler to it, the client makes it, the OpenAPI document lists it. */
export interface Route<Body extends z.ZodType = z.ZodType, Reply extends z.ZodType = z.ZodType> {
  readonly method: Method;
  readonly path: string;
  readonly summary: string;
  readonly body: Body;
  readonly reply: Reply;
  /** Names of the query parameters that the route understands; any other is an error. */
  readonly query: readonly string[];
}

function route<Body extends z.ZodType, Reply extends z.ZodType>(
  name: RouteName,
  summary: string,
  body: Body,
  reply: Reply,
  query: readonly string[] = [],
): Route<Body, Reply> {
  return { ...splitRequestLine(name), summary, body, reply, query };
}

const { Empty } = schema;

export const routes = {
  version: route('version', 'Version of the agent', Empty, schema.Version),
  status: route('status', 'State of this node, its peers and its kernel', Empty, schema.Status),
  init: route('init', 'Make a new cluster with this node as its first manager', schema.InitRequest, schema.InitReply),
  join: route('join', 'Join a cluster with a token', schema.JoinRequest, schema.JoinReply),
  leave: route(
    'leave',
    'Leave the cluster and remove its networks from this host',
    schema.LeaveRequest,
    schema.LeaveReply,
  ),
  joinToken: route('joinToken', 'The join token of a role', Empty, schema.JoinTokenReply),
  rotateJoinToken: route('rotateJoinToken', 'Replace the join token of a role', Empty, schema.JoinTokenReply),
  ca: route('ca', 'The root that certificates are of, and which nodes have one of it', Empty, schema.Ca),
  rotateCa: route('rotateCa', 'Change the root, or finish changing it', schema.RotateCaRequest, schema.Ca),
  meshKey: route('meshKey', 'Which key opens the mesh, and which nodes have it', Empty, schema.MeshKey),
  rotateMeshKey: route('rotateMeshKey', 'Change the key of the mesh', schema.RotateRequest, schema.MeshKey),
  tokenCreate: route('tokenCreate', 'Make a join token that ends', schema.TokenCreateRequest, schema.JoinTokenReply),
  tokenList: route('tokenList', 'Join tokens that end', Empty, schema.Token.array()),
  tokenRemove: route('tokenRemove', 'Revoke a join token', Empty, Empty),
  nodeList: route('nodeList', 'All nodes', Empty, schema.Node.array()),
  nodeInspect: route('nodeInspect', 'One node', Empty, schema.Node),
  nodeUpdate: route(
    'nodeUpdate',
    'Change the role, the availability or the labels of a node',
    schema.NodeUpdateRequest,
    schema.NodeUpdateReply,
  ),
  nodeRemove: route('nodeRemove', 'Remove a node that is down from the cluster', Empty, Empty, ['force']),
  networkList: route('networkList', 'All networks', Empty, schema.Network.array()),
  networkCreate: route('networkCreate', 'Create a network', schema.NetworkCreateRequest, schema.NetworkCreateReply),
  networkInspect: route('networkInspect', 'One network', Empty, schema.Network),
  networkUpdate: route(
    'networkUpdate',
    'Give a network one more subnet',
    schema.NetworkUpdateRequest,
    schema.NetworkUpdateReply,
  ),
  networkRemove: route('networkRemove', 'Remove a network without endpoints', Empty, Empty),
  networkConnect: route(
    'networkConnect',
    'Give a sandbox an endpoint on a network',
    schema.ConnectRequest,
    schema.Endpoint,
  ),
  networkDisconnect: route('networkDisconnect', 'Take a sandbox off a network', schema.DisconnectRequest, Empty),
  sandboxList: route('sandboxList', 'Sandboxes of this host', Empty, schema.Sandbox.array()),
  sandboxCreate: route('sandboxCreate', 'Make or adopt a sandbox', schema.SandboxCreateRequest, schema.Sandbox),
  sandboxInspect: route('sandboxInspect', 'One sandbox of this host', Empty, schema.Sandbox),
  sandboxRemove: route('sandboxRemove', 'Remove a sandbox and its endpoints', Empty, Empty),
  endpointList: route('endpointList', 'Endpoints on all hosts', Empty, schema.Endpoint.array(), ['network', 'node']),
  servicePublish: route(
    'servicePublish',
    'Have all nodes answer on ports for the endpoints of a name',
    schema.ServicePublishRequest,
    schema.Service,
  ),
  serviceUnpublish: route(
    'serviceUnpublish',
    'Take published ports back, or all of a service',
    schema.ServiceUnpublishRequest,
    Empty,
  ),
  serviceList: route('serviceList', 'Services with published ports', Empty, schema.Service.array(), ['network']),
  serviceInspect: route('serviceInspect', 'One service and its endpoints', Empty, schema.Service, ['network']),
  drift: route(
    'drift',
    'What in the kernel of this host is not as it is wanted, by a listing',
    Empty,
    schema.DriftReply,
  ),
  driftFix: route('driftFix', 'Repair the kernel of this host now', Empty, schema.DriftReply),
  dryRun: route('dryRun', 'What a call would change on this host', schema.DryRunRequest, schema.DryRunReply),
  reload: route('reload', 'Read the configuration again', schema.ReloadRequest, schema.ReloadReply),
  selfTest: route(
    'selfTest',
    'Send packets through VXLAN to other nodes and back',
    schema.SelfTestRequest,
    schema.SelfTestReply,
  ),
  wait: route(
    'wait',
    'Wait until all live nodes have the same tables and kernels',
    schema.WaitRequest,
    schema.WaitReply,
  ),
} as const satisfies { readonly [name in RouteName]: Route };
