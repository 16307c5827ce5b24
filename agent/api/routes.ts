import type { z } from 'zod';
import * as schema from './schema.ts';

/** One verb of the local API: the server binds a handler to it, the client calls it, the OpenAPI document lists it. */
export interface Route<Body extends z.ZodType = z.ZodType, Reply extends z.ZodType = z.ZodType> {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Path below the root; `:ref` is a name, an id or the start of an id. */
  readonly path: string;
  readonly summary: string;
  readonly body: Body;
  readonly reply: Reply;
  /** Names of the query parameters that the route understands; any other is an error. */
  readonly query: readonly string[];
}

function route<Body extends z.ZodType, Reply extends z.ZodType>(
  method: Route['method'],
  path: string,
  summary: string,
  body: Body,
  reply: Reply,
  query: readonly string[] = [],
): Route<Body, Reply> {
  return { method, path, summary, body, reply, query };
}

const { Empty } = schema;

export const routes = {
  version: route('GET', '/v1/version', 'Version of the agent', Empty, schema.Version),
  status: route('GET', '/v1/status', 'State of this node, its peers and its kernel', Empty, schema.Status),
  init: route(
    'POST',
    '/v1/init',
    'Make a new cluster with this node as its first manager',
    schema.InitRequest,
    schema.InitReply,
  ),
  join: route('POST', '/v1/join', 'Join a cluster with a token', schema.JoinRequest, schema.JoinReply),
  leave: route(
    'POST',
    '/v1/leave',
    'Leave the cluster and remove its networks from this host',
    schema.LeaveRequest,
    Empty,
  ),
  joinToken: route('GET', '/v1/join-tokens/:ref', 'The join token of a role', Empty, schema.JoinTokenReply),
  rotateJoinToken: route(
    'POST',
    '/v1/join-tokens/:ref/rotate',
    'Replace the join token of a role',
    Empty,
    schema.JoinTokenReply,
  ),
  nodeList: route('GET', '/v1/nodes', 'All nodes', Empty, schema.Node.array()),
  nodeInspect: route('GET', '/v1/nodes/:ref', 'One node', Empty, schema.Node),
  nodeRemove: route('DELETE', '/v1/nodes/:ref', 'Remove a node that is down from the cluster', Empty, Empty, ['force']),
  networkList: route('GET', '/v1/networks', 'All networks', Empty, schema.Network.array()),
  networkCreate: route(
    'POST',
    '/v1/networks',
    'Create a network',
    schema.NetworkCreateRequest,
    schema.NetworkCreateReply,
  ),
  networkInspect: route('GET', '/v1/networks/:ref', 'One network', Empty, schema.Network),
  networkRemove: route('DELETE', '/v1/networks/:ref', 'Remove a network without endpoints', Empty, Empty),
  networkConnect: route(
    'POST',
    '/v1/networks/:ref/connect',
    'Give a sandbox an endpoint on a network',
    schema.ConnectRequest,
    schema.Endpoint,
  ),
  networkDisconnect: route(
    'POST',
    '/v1/networks/:ref/disconnect',
    'Take a sandbox off a network',
    schema.DisconnectRequest,
    Empty,
  ),
  sandboxList: route('GET', '/v1/sandboxes', 'Sandboxes of this host', Empty, schema.Sandbox.array()),
  sandboxCreate: route('POST', '/v1/sandboxes', 'Make or adopt a sandbox', schema.SandboxCreateRequest, schema.Sandbox),
  sandboxInspect: route('GET', '/v1/sandboxes/:ref', 'One sandbox of this host', Empty, schema.Sandbox),
  sandboxRemove: route('DELETE', '/v1/sandboxes/:ref', 'Remove a sandbox and its endpoints', Empty, Empty),
  endpointList: route('GET', '/v1/endpoints', 'Endpoints on all hosts', Empty, schema.Endpoint.array(), [
    'network',
    'node',
  ]),
  wait: route(
    'POST',
    '/v1/wait',
    'Wait until all live nodes have the same tables and kernels',
    schema.WaitRequest,
    schema.WaitReply,
  ),
} as const;

export type RouteName = keyof typeof routes;
