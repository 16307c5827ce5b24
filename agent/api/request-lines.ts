/**
 * Method and path of each call of the local API, `:ref` being a name, an id or the start of an id. Apart from the
 * schemas (routes.ts), because loading those takes longer than all else that the command line does.
 */
export const requestLines = {
  version: 'GET /v1/version',
  status: 'GET /v1/status',
  init: 'POST /v1/init',
  join: 'POST /v1/join',
  leave: 'POST /v1/leave',
  joinToken: 'GET /v1/join-tokens/:ref',
  rotateJoinToken: 'POST /v1/join-tokens/:ref/rotate',
  ca: 'GET /v1/ca',
  rotateCa: 'POST /v1/ca/rotate',
  meshKey: 'GET /v1/mesh-key',
  rotateMeshKey: 'POST /v1/mesh-key/rotate',
  tokenCreate: 'POST /v1/tokens',
  tokenList: 'GET /v1/tokens',
  tokenRemove: 'DELETE /v1/tokens/:ref',
  nodeList: 'GET /v1/nodes',
  nodeInspect: 'GET /v1/nodes/:ref',
  nodeUpdate: 'POST /v1/nodes/:ref/update',
  nodeRemove: 'DELETE /v1/nodes/:ref',
  networkList: 'GET /v1/networks',
  networkCreate: 'POST /v1/networks',
  networkInspect: 'GET /v1/networks/:ref',
  networkUpdate: 'POST /v1/networks/:ref/update',
  networkRemove: 'DELETE /v1/networks/:ref',
  networkConnect: 'POST /v1/networks/:ref/connect',
  networkDisconnect: 'POST /v1/networks/:ref/disconnect',
  sandboxList: 'GET /v1/sandboxes',
  sandboxCreate: 'POST /v1/sandboxes',
  sandboxInspect: 'GET /v1/sandboxes/:ref',
  sandboxRemove: 'DELETE /v1/sandboxes/:ref',
  endpointList: 'GET /v1/endpoints',
  servicePublish: 'POST /v1/services/:ref/publish',
  serviceUnpublish: 'POST /v1/services/:ref/unpublish',
  serviceList: 'GET /v1/services',
  serviceInspect: 'GET /v1/services/:ref',
  drift: 'GET /v1/drift',
  driftFix: 'POST /v1/drift/fix',
  dryRun: 'POST /v1/dry-run',
  reload: 'POST /v1/reload',
  selfTest: 'POST /v1/self-test',
  wait: 'POST /v1/wait',
} as const;

export type RouteName = keyof typeof requestLines;
export type Method = 'GET' | 'POST' | 'DELETE';

/** `GET /v1/nodes/:ref` in its two parts. */
export function splitRequestLine(name: RouteName): { method: Method; path: string } {
  const [method = '', path = ''] = requestLines[name].split(' ');
  return { method: method as Method, path };
}
