import assert from 'node:assert/strict';
import { type RouteName, requestLines, splitRequestLine } from '../../../agent/api/request-lines.ts';
import { makeApp } from '../../../agent/api/server.ts';
import type { Handlers } from '../../../agent/daemon/calls/call.ts';
import { makeLog } from '../../../agent/daemon/log.ts';
import type { Target } from '../engine.ts';
import { bytesOf, jsonTextOf, takenIf } from '../inputs.ts';
import { jsonOf } from '../mutate.ts';

const bodies: { readonly [name in RouteName]?: object } = {
  init: { DefaultAddrPool: ['10.0.0.0/8'], SubnetSize: 24, DataPathPort: 4789, AdvertiseAddr: '192.0.2.1' },
  join: { JoinToken: 'WFTKN-1-x', RemoteAddrs: ['192.0.2.1:2377'], DataPathAddr: '192.0.2.1' },
  leave: { Force: true },
  tokenCreate: { Role: 'worker', ExpiresSeconds: 60, MaxUses: 2 },
  nodeUpdate: { Role: 'manager' },
  networkCreate: {
    ...{ Name: 'blue', Driver: 'overlay', Internal: false, Labels: { a: 'b' }, Options: { a: 'b' } },
    IPAM: { Config: [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1', AuxiliaryAddresses: { a: '10.0.1.9' } }] },
  },
  networkUpdate: { SubnetAdd: { Subnet: '10.0.2.0/24' } },
  networkConnect: { Sandbox: 'web', Aliases: ['www'] },
  networkDisconnect: { Sandbox: 'web' },
  sandboxCreate: { Name: 'web', Networks: ['blue'], Aliases: ['www'], Pid: 1, NetnsPath: '/run/netns/x', Dns: ['::1'] },
  servicePublish: {
    ...{ Network: 'blue', Source: 'keep', AffinityMs: 1_000 },
    Ports: [{ Protocol: 'udp', PublishedPort: 8080, TargetPort: 80, Count: 2 }],
  },
  serviceUnpublish: { Network: 'blue', Ports: [{ Protocol: 'tcp', PublishedPort: 8080 }] },
  dryRun: { Verb: 'networkConnect', Network: 'blue', Request: { Sandbox: 'web', IPAddress: '10.0.1.7' } },
  reload: { DryRun: true },
  selfTest: { Nodes: ['host-2'] },
  wait: { TimeoutSeconds: 1, Network: 'blue' },
};

/** Requests to the local API, up to the handlers. */
export function apiTargets(): Target[] {
  const handlers = new Proxy({} as Handlers, { get: () => (call: object) => ({ ...call, signal: null }) });
  const failed = (): never => {
    throw new Error('a call of the local API failed');
  };
  const app = makeApp(handlers, { ...makeLog({ logLevel: 'error', logFormat: 'json' }), error: failed } as never);
  const calls = (Object.keys(requestLines) as RouteName[]).map((name) => ({
    ...splitRequestLine(name),
    body: bodies[name],
  }));
  const local: Target = {
    name: 'local API',
    weight: 12,
    valid: calls.map(({ method, path, body }) => [
      method,
      path.replace(':ref', 'blue'),
      body === undefined ? '' : jsonOf(body),
    ]),
    make: (random) => {
      const of = calls.filter(({ body }) => body !== undefined || random.chance(0.1));
      const { method = 'GET', path = '/', body } = random.pick(of) ?? {};
      const ref = encodeURIComponent(Buffer.from(bytesOf(random, [Buffer.from('blue')])).toString('latin1'));
      return [method, path.replace(':ref', ref || 'x'), method === 'GET' ? '' : jsonTextOf(random, [body ?? {}])];
    },
    take: async ([method, path, body]: [string, string, string]) => {
      const reply = await app.request(path, { method, ...(body === '' ? {} : { body }) });
      assert.ok(reply.status < 500, `status ${reply.status}`);
      assert.equal(typeof (await reply.json()), 'object');
      return takenIf(reply.status === 200);
    },
  };
  return [local];
}
