import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, test } from 'node:test';
import { encode } from '../../../controlplane/encoding.ts';
import { systemEnvironment } from '../../../controlplane/environment.ts';
import { meshKeyDigest } from '../../../controlplane/identity/credentials.ts';
import type { Addressing } from '../../../controlplane/identity/state.ts';
import { requestMembership } from '../../../controlplane/joining.ts';
import { defaultCertExpiryMs, initCluster } from '../../../controlplane/membership.ts';
import { formatHostPort, parseHostPort } from '../../../controlplane/mesh/address.ts';
import { libp2pTransport } from '../../../controlplane/mesh/libp2p.ts';
import type { TransportEvents } from '../../../controlplane/mesh/transport.ts';
import { testVault } from '../../sim/identities.ts';
import { memoryStore, quietLog } from './helpers.ts';

// As behind one address of a NAT: each listener behind it has a port of its own.
const host = '127.0.0.1';
const joiners = 50;

const stops: (() => Promise<void>)[] = [];
after(async () => {
  await Promise.all(stops.map((stop) => stop()));
});

/** Ports that were free a moment ago, all different; below those that connections get at their own end (32768, ip(7)). */
async function freePorts(count: number): Promise<number[]> {
  const ports: number[] = [];
  for (let port = randomInt(10_000, 30_000); ports.length < count; port += 1) {
    const server = createServer();
    const isFree = new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, host, () => resolve(true));
    });
    if (!(await isFree)) continue;
    await once(server.close(), 'close');
    ports.push(port);
  }
  return ports;
}

const addressing = (port: number): Addressing => ({
  ...{ advertise: formatHostPort({ host, port }), vtep: host, device: null },
});

const silent: TransportEvents = {
  gossip: () => 'ignore',
  request: async () => encode(null),
  pinged: () => {},
  connected: () => {},
  disconnected: () => {},
};

const tooLate = /timeout|no answer in time/;

/** Tries until it is done: so many nodes in one process may be late, as one may not, but nobody may be turned away. */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt === 10 || !tooLate.test(String(error))) throw error;
    }
  }
}

test(`${joiners} nodes join at once from behind one address, through one manager`, async () => {
  const [gossip = 0, joining = 0, ...ports] = await freePorts(joiners + 2);
  const settings = {
    ...{ pools: ['10.0.0.0/8'], subnetBits: 24, dataPathPort: 4789, certExpiryMs: defaultCertExpiryMs },
  };
  const init = {
    ...{ store: memoryStore(), vault: testVault, environment: systemEnvironment, log: quietLog },
    ...{ hostname: 'manager', version: 'test', listenHost: host, gossipPort: gossip, joinPort: joining },
    ...{ pending: () => '', avoid: () => [], onRemoved: () => {} },
  };
  const manager = await initCluster(init, addressing(gossip), settings);
  stops.push(() => manager.stop());
  const token = manager.reception.tokens?.token('worker') ?? '';
  const through = parseHostPort(manager.reception.joinAddress ?? '');
  assert.ok(through !== null);
  const requested = await Promise.allSettled(
    ports.map((port) => patiently(() => requestMembership([through], token, async () => addressing(port), Date.now()))),
  );
  assert.deepEqual(reasons(requested), []);
  const identities = requested.flatMap((each) => (each.status === 'fulfilled' ? [each.value.identity] : []));

  // Agents would be heavier than this process can be; to the manager it is the same.
  const transports = identities.map((identity) => {
    const port = parseHostPort(identity.advertise)?.port ?? 0;
    return libp2pTransport({
      key: identity.key,
      meshKeys: () => identity.networkKeys.map((key) => ({ id: meshKeyDigest(key).subarray(0, 8), key })),
      listen: { host, port },
      certificate: () => identity.certificate,
      links: () => [],
      learn: async () => {},
      admit: () => null,
      explain: () => null,
      refused: () => {},
      monotonicMs: () => performance.now(),
      log: quietLog,
    });
  });
  stops.push(...transports.map((transport) => () => transport.stop()));
  await Promise.all(transports.map((transport) => transport.start(silent)));
  const { self } = manager.cluster;
  const asked = await Promise.allSettled(
    transports.map(async (transport) => {
      const within = (): AbortSignal => AbortSignal.timeout(30_000);
      await patiently(() => transport.dial(self, [formatHostPort({ host, port: gossip })], within()));
      await patiently(() => transport.request(self, 'digest', encode([null]), within()));
    }),
  );
  assert.deepEqual(reasons(asked), []);
  assert.equal(manager.cluster.transport.connections().size, joiners);
});

const reasons = (outcomes: readonly PromiseSettledResult<unknown>[]): string[] =>
  outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [String(outcome.reason)] : []));
