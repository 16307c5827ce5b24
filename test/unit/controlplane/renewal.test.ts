import assert from 'node:assert/strict';
import { test } from 'node:test';
import { issueCertificate } from '../../../controlplane/identity/authority.ts';
import type { Identity } from '../../../controlplane/identity/state.ts';
import { encodeRenewal, parseRenewal } from '../../../controlplane/keys/wire.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { identityOf, simulationClusterId } from '../../sim/identities.ts';
import { simulationStartMs, VirtualTime } from '../../sim/time.ts';
import { makeCluster, memoryStore, Writer } from './helpers.ts';

const lifetimeMs = 20_000;
const manager = await identityOf(0, 'manager');
const worker = await identityOf(1, 'worker');
const [authority] = manager.authorities;
if (authority === undefined) throw new Error('a manager has the key of the CA');

/** The same node with a certificate that lasts for a few seconds. */
async function shortLived(identity: Identity, nowMs = simulationStartMs): Promise<Identity> {
  assert.ok(authority);
  const node = { ...identity.key, role: identity.role };
  const certificate = await issueCertificate(authority, simulationClusterId, node, nowMs, { lifetimeMs });
  return { ...identity, certificate };
}

type Made = ReturnType<typeof makeCluster>;

async function started(identity: Identity): Promise<Made> {
  const made = makeCluster(await shortLived(identity), memoryStore(), new VirtualTime());
  await made.cluster.start();
  return made;
}

/** Lets the time pass until the certificate is due, and waits for another one. */
async function renewed({ cluster, time }: Made): Promise<void> {
  const before = cluster.identity.certificate;
  const changed = new Promise<void>((resolve) => {
    const unwatch = cluster.credentials.watch(() => {
      if (cluster.identity.certificate === before) return;
      unwatch();
      resolve();
    });
  });
  await time.run(Math.max(0, cluster.keys.renewal.state.dueMs - time.now()) + 1);
  await changed;
  // What follows from it: it is recognised, and told to others.
  await time.run(1);
}

test('a manager renews its own certificate for ever, between half and four fifths of each life', async () => {
  const made = await started(manager);
  const { cluster, time } = made;
  const value = { stamp: [1, 0], root: cluster.self, pools: ['10.0.0.0/8'], subnetBits: 24, dataPathPort: 4789 };
  await cluster.tables.put(clusterTopic, 'cluster', { ...value, certExpiryMs: lifetimeMs });
  for (let i = 0; i < 20; i += 1) {
    const { endsMs, dueMs } = cluster.keys.renewal.state;
    assert.ok(dueMs > endsMs - lifetimeMs * 0.55 && dueMs < endsMs - lifetimeMs * 0.2, `${endsMs - dueMs}`);
    await renewed(made);
    assert.ok(cluster.keys.renewal.state.endsMs >= time.now() + lifetimeMs - 1_000);
    assert.deepEqual(cluster.view.holdings.get(cluster.self)?.certificate, cluster.identity.certificate);
  }
  await cluster.stop();
});

test('a worker asks managers in turn, and takes no answer that is not a newer certificate of its own', async () => {
  const made = await started(worker);
  const { cluster, transport, time } = made;
  const writer = new Writer(manager);
  const { vtep, advertise, createdMs } = manager;
  const node = { hostname: 'm', vtep, gossip: [advertise], version: '1', createdMs };
  transport.open.set(writer.nodeId, { direction: 'outbound', address: advertise, sinceMs: 0 });
  made.admit(manager);
  const records = [writer.write(clusterTopic, '', 1), writer.write(clusterTopic, 'node', node)];
  transport.gossip(clusterTopic, records, writer.nodeId);
  const answer = (certificate: Uint8Array) =>
    encodeRenewal({ certificate, links: [], authorities: [authority], meshKeys: [] });
  const bad = [
    Buffer.from('garbage'),
    answer(manager.certificate),
    answer(cluster.identity.certificate),
    answer(Buffer.alloc(10)),
  ];
  let asked = 0;
  transport.answer = async (_, method) => {
    if (method !== 'renew') throw new Error('not asked for here');
    asked += 1;
    const wrong = bad[asked - 1];
    return wrong ?? answer((await shortLived(worker, time.now())).certificate);
  };
  const first = cluster.identity.certificate;
  // Before it is due: nothing is asked but by this test.
  await time.run(5_000);
  assert.equal(asked, 0);
  for (let attempt = 1; attempt <= bad.length; attempt += 1) {
    await assert.rejects(cluster.keys.renewal.renewNow());
    assert.equal(cluster.identity.certificate, first);
  }
  await cluster.keys.renewal.renewNow();
  assert.notDeepEqual(cluster.identity.certificate, first);
  assert.deepEqual(cluster.identity.authorities, [], 'a worker keeps no key of the CA');
  await cluster.stop();
});

test('an answer to a renewal survives the wire; what is none is refused', () => {
  const reply = {
    certificate: Buffer.alloc(300, 1),
    links: [{ root: Buffer.alloc(300, 2), cross: Buffer.alloc(300, 3) }],
    authorities: [{ certificate: Buffer.alloc(300, 2), pkcs8: Buffer.alloc(48, 4) }],
    meshKeys: [Buffer.alloc(32, 5)],
  };
  assert.deepEqual(parseRenewal(encodeRenewal(reply)), reply);
  for (const wrong of [
    { ...reply, meshKeys: [Buffer.alloc(31)] },
    { ...reply, links: Array.from({ length: 9 }, () => reply.links[0]) },
    { ...reply, certificate: 'text' },
  ])
    assert.equal(parseRenewal(encodeRenewal(wrong as typeof reply)), null);
});
