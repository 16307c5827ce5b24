import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type NodeId, newEndpointId, newNetworkId } from '../../../controlplane/ids.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { VirtualTime } from '../../sim/time.ts';
import { makeCluster, memoryStore } from './helpers.ts';

/** A manager with one network, and a worker; each asks the other directly. */
async function managerAndWorker() {
  const time = new VirtualTime();
  const identities = [await identityOf(0, 'manager'), await identityOf(1, 'worker')] as const;
  const stores = identities.map(() => memoryStore());
  const parties = identities.map((identity, i) => makeCluster(identity, stores[i] ?? memoryStore(), time));
  const [manager, worker] = parties;
  if (manager === undefined || worker === undefined) throw new Error('no parties');
  let isCut = false;
  for (const party of parties) {
    const other = party === manager ? worker : manager;
    party.transport.answer = async (_, method, body) => {
      const answering = isCut ? undefined : other.transport.events?.request(method, body, party.cluster.self);
      if (answering === undefined) throw new Error('not connected');
      return answering;
    };
  }
  for (const { cluster } of parties) await cluster.start();
  for (const party of parties) {
    const other: NodeId = (party === manager ? worker : manager).cluster.self;
    party.transport.open.set(other, { direction: 'outbound', address: '192.0.2.1:7946', sinceMs: 0 });
    for (const identity of identities) party.admit(identity);
  }
  const node = (name: string) => ({
    hostname: name,
    vtep: '192.0.2.9',
    gossip: ['192.0.2.9:7946'],
    version: '0',
    createdMs: 0,
  });
  await manager.cluster.announce(node('manager'));
  await worker.cluster.announce(node('worker'));
  const { tables, clock } = manager.cluster;
  const root = manager.cluster.self;
  const pools = ['10.0.0.0/16'];
  await tables.put(clusterTopic, 'cluster', {
    stamp: [...clock.next()],
    root,
    pools,
    subnetBits: 24,
    dataPathPort: 4789,
  });
  const plain = { internal: false, attachable: true, ingress: false, options: {}, labels: {} };
  const network = await manager.cluster.networks.create({ ...plain, name: 'frontend' });
  const exchange = async (): Promise<void> => {
    for (const [a, b] of [
      [manager, worker],
      [worker, manager],
      [manager, worker],
    ] as const) {
      a.cluster.replica.connected(b.cluster.self);
      await time.run(200);
    }
  };
  await exchange();
  const attach = async (party: typeof manager): Promise<string> => {
    const { interests, allocator, networks, tables: own } = party.cluster;
    const leave = await interests.enter(network.id);
    const { ring, number, ip } = await networks.allocateAddress(network, null);
    const key = `ep/${newEndpointId()}`;
    const rest = { sandbox: 'a'.repeat(64), mac: '02:00:00:00:00:01', aliases: [], createdMs: 0 };
    await own.put(networkTopic(network.id), key, { ...rest, name: 'box', ip });
    allocator.release(ring, number, true);
    leave();
    return key;
  };
  const cut = (): void => {
    isCut = true;
  };
  return { time, manager, worker, network, topic: networkTopic(network.id), exchange, attach, cut, identities, stores };
}

test('a worker keeps nothing of a network that it is not on; a manager keeps all', async () => {
  const { manager, worker, network, topic, exchange, attach } = await managerAndWorker();
  await attach(manager);
  await exchange();
  assert.ok(worker.cluster.view.networks.has(network.id));
  assert.equal(worker.cluster.tables.hasInterest(topic), false);
  assert.equal(worker.cluster.view.endpointsOf(network.id).size, 0);
  assert.equal(worker.cluster.interests.follows(network.id), false);
  assert.ok(manager.cluster.interests.follows(network.id));
});

test('before an endpoint is made on it, all of the network is here; the others hear that the node is on it', async () => {
  const { manager, worker, network, exchange, attach } = await managerAndWorker();
  for (let i = 0; i < 3; i += 1) await attach(manager);
  const leave = await worker.cluster.interests.enter(network.id);
  assert.equal(worker.cluster.view.endpointsOf(network.id).size, 3);
  leave();
  await attach(worker);
  await exchange();
  assert.ok(manager.cluster.view.nodesOn(network.id).has(worker.cluster.self));
  assert.equal(manager.cluster.view.endpointsOf(network.id).size, 4);
});

test('some time after the last endpoint is gone, addresses go back and the network is forgotten', async () => {
  const { time, manager, worker, network, topic, exchange, attach } = await managerAndWorker();
  const key = await attach(worker);
  await exchange();
  await worker.cluster.tables.remove(topic, key);
  await time.run(10_000);
  assert.ok(worker.cluster.tables.hasInterest(topic), 'a container that restarts comes back to it');
  await time.run(25_000);
  await exchange();
  assert.equal(worker.cluster.tables.hasInterest(topic), false);
  assert.equal(worker.cluster.allocator.owns(network.id), false);
  assert.deepEqual([...worker.cluster.tables.owners(topic)], [worker.cluster.self], 'what it wrote stays for others');
  assert.equal(manager.cluster.view.nodesOn(network.id).has(worker.cluster.self), false);
  assert.equal(manager.cluster.view.endpointsOf(network.id).size, 0);
});

test('a question about a network is answered truly, and the node is not on it by that', async () => {
  const { time, manager, worker, network, topic, attach } = await managerAndWorker();
  await attach(manager);
  assert.equal(await worker.cluster.interests.look([network.id]), true);
  assert.equal(worker.cluster.view.endpointsOf(network.id).size, 1);
  assert.equal(worker.cluster.tables.own(clusterTopic, `on/${network.id}`), null);
  await time.run(35_000);
  assert.equal(worker.cluster.tables.hasInterest(topic), false);
});

test('cut off, a worker says that it cannot know the network; one that knew it goes on', async () => {
  const { worker, network, cut } = await managerAndWorker();
  cut();
  await assert.rejects(worker.cluster.interests.enter(network.id), { code: 'network_out_of_reach' });
  assert.equal(await worker.cluster.interests.look([network.id]), false);
  await assert.rejects(worker.cluster.interests.enter(newNetworkId()), { code: 'network_not_found' });
});

test('forgot_its_tombstones: a network whose definition is missing for a moment is not taken for removed', async () => {
  const { time, manager, worker, network, topic, exchange, attach } = await managerAndWorker();
  const key = await attach(worker);
  await exchange();
  await worker.cluster.tables.remove(topic, key);
  // As when its only writer was removed, and what the heir wrote is still on its way.
  await worker.cluster.tables.dropOwner(manager.cluster.self);
  assert.equal(worker.cluster.view.networks.has(network.id), false);
  await time.run(1_000);
  await exchange();
  assert.ok(worker.cluster.view.networks.has(network.id));
  assert.equal(manager.cluster.view.endpointsOf(network.id).size, 0);
  await manager.cluster.networks.remove(network);
  await exchange();
  await time.run(1_000);
  assert.deepEqual([...worker.cluster.tables.owners(topic)], [], 'one that was removed is forgotten');
});

test('kept_a_network_that_it_left: what a crash left of a network that a worker was asked about goes at its next start', async () => {
  const { time, manager, network, topic, attach, identities, stores, worker } = await managerAndWorker();
  await attach(manager);
  await worker.cluster.interests.look([network.id]);
  await worker.cluster.tables.flushed();
  // Killed before the interest has ended.
  const [, identity] = identities;
  const store = stores[1] ?? memoryStore();
  assert.ok([...store.entries(['record', topic])].length > 0);
  const again = makeCluster(identity, store, time);
  await again.cluster.start();
  await time.run(100);
  assert.deepEqual([...again.cluster.tables.owners(topic)], []);
  assert.deepEqual([...store.entries(['record', topic])], []);
});
