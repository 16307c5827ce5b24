import assert from 'node:assert/strict';
import { requestLines } from '../../agent/api/request-lines.ts';
import { makeApp } from '../../agent/api/server.ts';
import type { Handlers } from '../../agent/daemon/handlers.ts';
import { makeLog } from '../../agent/daemon/log.ts';
import { ControlPlaneError } from '../../controlplane/errors.ts';
import { checkCertificateRequest, newCertificateRequest } from '../../controlplane/identity/authority.ts';
import { JoinCall } from '../../controlplane/identity/join.ts';
import { readAnswer } from '../../controlplane/identity/join-client.ts';
import { identityWrite, loadIdentity, loadPeers } from '../../controlplane/identity/state.ts';
import { digestOf, parseToken } from '../../controlplane/identity/token.ts';
import { identityFrom } from '../../controlplane/joining.ts';
import type { Key } from '../../controlplane/store.ts';
import { identityOf, testVault } from '../sim/identities.ts';
import { simulationStartMs } from '../sim/time.ts';
import { makeCluster, memoryStore } from '../unit/controlplane/helpers.ts';
import type { Target } from './engine.ts';
import { mutateBytes, mutateValue, packed } from './mutate.ts';
import { bytesOf, jsonTextOf, mayRefuse } from './targets.ts';

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/** What strangers, users and the disk hand in: joins, tokens, certificates, the local API, the state. */
export async function hostTargets(): Promise<Target[]> {
  const identity = await identityOf(1, 'worker');
  const csr = await newCertificateRequest(identity.key);
  const root = identity.trust.current.der;
  const secret = Buffer.alloc(16, 3);
  const caDigest = digestOf(root);
  const bootstrap = {
    ...{ clusterId: identity.clusterId, role: 'worker', certificate: base64(identity.certificate), authorities: [] },
    ...{
      roots: [root, root].map((each) => ({ root: base64(each), cross: null })),
      networkKeys: [base64(Buffer.alloc(32))],
    },
    peers: [{ id: identity.key.nodeId, addresses: ['192.0.2.1:7946'] }],
  };
  const refusal = { code: 'join_token_invalid', message: 'no' };

  const joinCalls: Target = {
    name: 'join requests',
    weight: 3,
    make: (random) => jsonTextOf(random, [{ secret: base64(secret), request: base64(csr) }]),
    take: async (text: string) => {
      const call = await mayRefuse(/JSON|Unexpected|Expected/, () => JoinCall.safeParse(JSON.parse(text)));
      if (call?.success) await checkCertificateRequest(Buffer.from(call.data.request, 'base64'));
    },
  };
  const joinAnswers: Target = {
    name: 'join replies',
    weight: 3,
    make: (random) => [random.pick([200, 200, 403, 500]), jsonTextOf(random, [bootstrap, bootstrap, refusal])],
    take: async ([status, text]: [number, string]) => {
      const read = await documented(/^status |^the answer is not/, () => readAnswer(status, Buffer.from(text), 'host'));
      const addressing = { advertise: '192.0.2.2:7946', vtep: '192.0.2.2', device: null };
      const token = { caDigest, secret };
      if (read === null) return;
      await documented(null, () => identityFrom(read, identity.key, token, addressing, simulationStartMs));
    },
  };
  const tokens: Target = {
    name: 'tokens',
    weight: 2,
    make: (random) =>
      Buffer.from(bytesOf(random, [Buffer.from(`WFTKN-1-${'0'.repeat(50)}-${'1'.repeat(25)}`)])).toString('latin1'),
    take: (text: string) => {
      const parsed = parseToken(text);
      if (!parsed.ok) assert.ok(parsed.reason.length < 200 && !parsed.reason.includes('\n'), 'a reason of one line');
    },
  };
  const certificates: Target = {
    name: 'certificates',
    weight: 4,
    make: (random) => bytesOf(random, [identity.certificate, root]),
    take: (bytes: Uint8Array) => {
      for (const checked of [identity.trust.check(bytes, simulationStartMs), identity.trust.recognise(bytes)]) {
        if (checked.ok) assert.equal(checked.member.nodeId, identity.key.nodeId, 'a certificate that nobody signed');
      }
    },
  };
  const certificateRequests: Target = {
    name: 'certificate requests',
    weight: 2,
    make: (random) => bytesOf(random, [csr]),
    take: async (bytes: Uint8Array) => {
      const checked = await checkCertificateRequest(bytes);
      if (checked.ok) assert.equal(checked.nodeId, identity.key.nodeId, 'a request that nobody signed');
    },
  };
  return [joinCalls, joinAnswers, tokens, certificates, certificateRequests, await stateTarget(), apiTarget()];
}

/** Runs what may end by a ControlPlaneError, or by an Error that says what the pattern says. */
async function documented<T>(pattern: RegExp | null, work: () => T | Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ControlPlaneError || (error instanceof Error && pattern?.test(error.message))) return null;
    throw error;
  }
}

/** A state directory that was damaged: the agent says so and ends, or starts without what cannot be read. */
async function stateTarget(): Promise<Target> {
  const identity = await identityOf(3, 'manager');
  const whole = memoryStore();
  await whole.commit([identityWrite(identity, testVault), { key: ['joined'], value: true }]);
  const { cluster } = makeCluster(identity, whole);
  await cluster.start();
  const node = { hostname: 'a', vtep: '192.0.2.4', gossip: ['192.0.2.4:7946'], version: '0', createdMs: 0 };
  await cluster.announce(node);
  await cluster.stop();
  await whole.commit([{ key: ['peers'], value: [[identity.key.nodeId, ['192.0.2.1:7946']]] }]);
  const rows = [...whole.entries([])];
  return {
    name: 'state',
    weight: 1,
    make: (random) => {
      const [key, value] = random.pick(rows) ?? [[], null];
      const bytes = random.chance(0.6) ? packed(mutateValue(random, value)) : mutateBytes(random, packed(value), []);
      return [key, bytes];
    },
    take: async ([key, bytes]: [Key, Uint8Array]) => {
      const store = memoryStore(whole.disk.copy());
      store.disk.apply([{ key, bytes }]);
      await documented(null, async () => {
        const loaded = loadIdentity(store, testVault);
        if (loaded === null) return;
        const { cluster: again } = makeCluster(loaded, store, undefined, loadPeers(store));
        await again.start();
        await again.stop();
      });
    },
  };
}

/** Bodies of the local API, up to the handlers. */
function apiTarget(): Target {
  const handlers = new Proxy({} as Handlers, { get: () => (call: object) => ({ ...call, signal: null }) });
  const failed = (): never => {
    throw new Error('a call of the local API failed');
  };
  const app = makeApp(handlers, { ...makeLog({ logLevel: 'error', logFormat: 'json' }), error: failed } as never);
  const calls = Object.values(requestLines).map((line) => line.split(' ') as [string, string]);
  const bodies = [
    { Name: 'blue', Internal: false, Labels: { a: 'b' }, Options: {}, IPAM: { Config: [{ Subnet: '10.0.1.0/24' }] } },
    { Name: 'web', Networks: ['blue'], Aliases: ['www'], Pid: 1, NetnsPath: '/run/netns/x' },
    { JoinToken: 'WFTKN-1-x', RemoteAddrs: ['192.0.2.1:2377'], AdvertiseAddr: '192.0.2.1' },
    { DefaultAddrPool: ['10.0.0.0/8'], SubnetSize: 24, DataPathPort: 4789 },
    { Sandbox: 'web', Aliases: ['www'] },
    { Timeout: 1, Network: 'blue', Force: true },
  ];
  return {
    name: 'local API',
    weight: 4,
    make: (random) => {
      const [method = 'GET', path = '/'] =
        random.pick(calls.filter(([verb]) => verb !== 'GET' || random.chance(0.2))) ?? [];
      const ref = encodeURIComponent(Buffer.from(bytesOf(random, [Buffer.from('blue')])).toString('latin1'));
      return [method, path.replace(':ref', ref || 'x'), method === 'GET' ? '' : jsonTextOf(random, bodies)];
    },
    take: async ([method, path, body]: [string, string, string]) => {
      const reply = await app.request(path, { method, ...(body === '' ? {} : { body }) });
      assert.ok(reply.status < 500, `status ${reply.status}`);
      assert.equal(typeof (await reply.json()), 'object');
    },
  };
}
