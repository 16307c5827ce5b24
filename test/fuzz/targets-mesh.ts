import assert from 'node:assert/strict';
import { plan } from '../../agent/plan.ts';
import type { Identity } from '../../controlplane/identity/state.ts';
import type { EndpointId, NetworkId } from '../../controlplane/ids.ts';
import { livenessTopic, signStatement } from '../../controlplane/liveness/statement.ts';
import { maxFrameBytes } from '../../controlplane/mesh/transport.ts';
import { networkTopic } from '../../controlplane/tables/kinds.ts';
import { clusterTopic, decodeRecord, ownerBytes, type SignedRecord, toWire } from '../../controlplane/tables/record.ts';
import { identityOf } from '../sim/identities.ts';
import { simulationStartMs } from '../sim/time.ts';
import { makeCluster, memoryStore, Writer } from '../unit/controlplane/helpers.ts';
import type { Target } from './engine.ts';
import { mutateValue, packed } from './mutate.ts';
import { mayRefuse, msgpackOf } from './targets.ts';

const networkId = 'n'.repeat(25) as NetworkId;
const network = networkTopic(networkId);
const endpointId = 'e'.repeat(64) as EndpointId;
const stamp = [simulationStartMs, 0];
/** What a request may be refused with: the asker is told this text, and nothing else happens. */
const refusals = /^not msgpack$|^malformed |^unknown method |^cannot look at that node$/;

/** One valid record of each kind, by key. */
function valuesBy(identity: Identity): readonly (readonly [topic: string, key: string, value: unknown])[] {
  const { nodeId } = identity.key;
  const node = { hostname: 'b', vtep: '192.0.2.2', gossip: ['192.0.2.2:7946'], version: '0', createdMs: 0 };
  const root = nodeId;
  const cluster = { stamp, root, pools: ['10.0.0.0/8'], subnetBits: 24, dataPathPort: 4789 };
  const options = { 'com.docker.network.driver.mtu': '1400' };
  const definition = {
    ...{ stamp, removed: false, name: 'blue', vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1', root },
    ...{ internal: false, attachable: true, ingress: false, options, labels: { a: 'b' }, createdMs: 1 },
  };
  const endpoint = {
    ...{ name: 'web', sandbox: 's'.repeat(64), ip: '10.0.1.7', mac: '02:42:0a:00:01:07' },
    ...{ aliases: ['www'], createdMs: 1 },
  };
  const grant = (start: number, end: number) => ({ start, end, to: nodeId, generation: 1 });
  return [
    [clusterTopic, 'node', node],
    [clusterTopic, 'cluster', cluster],
    [clusterTopic, `network/${networkId}`, definition],
    [clusterTopic, 'token/worker', { stamp, sealed: Buffer.alloc(44), createdMs: 1 }],
    [clusterTopic, `removed/${nodeId}`, { stamp }],
    [clusterTopic, `role/${nodeId}`, { stamp, role: 'worker' }],
    [clusterTopic, 'range/subnet/0/1', grant(0, 16)],
    [network, 'range/0/1', grant(0, 256)],
    [network, `ep/${endpointId}`, endpoint],
  ];
}

/** A cluster of production code that hears nothing but what is put in. */
async function listening() {
  const { cluster, transport, admit } = makeCluster(await identityOf(0, 'manager'), memoryStore());
  await cluster.start();
  const { events } = transport;
  if (events === null) throw new Error('the cluster did not start its mesh');
  return { cluster, transport, events, admit };
}

/** What another member sends: gossip, requests, replies. */
export async function meshTargets(): Promise<Target[]> {
  const [manager, worker] = [await identityOf(1, 'manager'), await identityOf(2, 'worker')];
  const writer = new Writer(manager);
  const from = worker.key.nodeId;
  const records = [writer.write(clusterTopic, '', 2), ...valuesBy(manager).map((each) => writer.write(...each))];
  const wires = records.map(toWire);
  const vector = [clusterTopic, [[ownerBytes(writer.nodeId), 1, 1]]];
  const stream = {
    ...{ topic: clusterTopic, owner: ownerBytes(writer.nodeId), certificate: manager.certificate },
    ...{ epoch: 1, after: 0, upTo: 3, records: wires },
  };
  const statement = signStatement(
    manager.key,
    manager.clusterId,
    { subject: from, incarnation: { epoch: 1, count: 1 }, claim: 'silent' },
    1,
  );
  const statements = [[statement.payload, statement.signature]];
  const requests: readonly (readonly [method: string, values: readonly unknown[]])[] = [
    [
      'pull',
      [
        { all: true, vector: [vector] },
        { all: false, vector: [vector, [network, []]] },
      ],
    ],
    ['range', [['subnet'], ['vni'], [networkId]]],
    ['digest', [[null], [networkId], []]],
    ['look', [[ownerBytes(writer.nodeId)]]],
    ['liveness', [statements]],
  ];
  const node = await listening();
  for (const each of [manager, worker]) node.admit(each);
  node.transport.connect(from, 'inbound');

  const known = new Set(records.map(({ signature }) => Buffer.from(signature).toString('hex')));
  const gossip: Target = {
    name: 'gossip',
    weight: 8,
    make: (random) => [
      random.pick([clusterTopic, network, livenessTopic]),
      msgpackOf(random, [wires, [wires[1]], statements]),
    ],
    take: ([topic, bytes]: [string, Uint8Array]) => {
      assert.ok(['accept', 'ignore', 'reject'].includes(node.events.gossip(topic, bytes, from)));
      for (const each of node.cluster.tables.records(clusterTopic))
        if (each.record.owner === writer.nodeId)
          assert.ok(known.has(Buffer.from(each.signature).toString('hex')), 'a record that its owner did not sign');
    },
  };
  const asked: Target = {
    name: 'requests',
    weight: 6,
    make: (random) => {
      const [method, values] = random.pick(requests) ?? ['pull', []];
      return [random.chance(0.95) ? method : 'none', msgpackOf(random, values)];
    },
    take: async ([method, bytes]: [string, Uint8Array]) => {
      const answer = await mayRefuse(refusals, () => node.events.request(method, bytes, from));
      assert.ok(answer === null || answer.length <= maxFrameBytes);
    },
  };
  const answered: Target = {
    name: 'replies',
    weight: 3,
    make: (random) => msgpackOf(random, [{ streams: [stream], more: false, behind: false }]),
    take: async (bytes: Uint8Array) => {
      let answers = 0;
      node.transport.answer = async () => {
        answers += 1;
        return answers > 2 ? packed({ streams: [], more: false, behind: false }) : bytes;
      };
      await node.cluster.replica.pullNow(from);
      assert.ok(answers <= 4, 'a reply without an end');
    },
  };
  return [gossip, asked, answered, recordTarget(), await signedTarget(manager)];
}

/** Records as they are read from a frame or from the disk. */
function recordTarget(): Target {
  return {
    name: 'records',
    weight: 4,
    make: (random) => mutateValue(random, [random.bytes(random.between(0, 300)), random.bytes(64)]),
    take: (wire: unknown) => decodeRecord(wire),
  };
}

/** What a member may say by right, signed by itself: the values are all that is wrong with it. */
async function signedTarget(manager: Identity): Promise<Target> {
  const values = valuesBy(manager);
  let node = await listening();
  let writer = new Writer(manager);
  let written = 0;
  return {
    name: 'signed values',
    weight: 4,
    make: (random) => {
      const [topic, key, value] = random.pick(values) ?? [clusterTopic, 'node', {}];
      const changed = random.chance(0.8) ? key : `${key}${random.pick(['/', '0', '/1', '\n'])}`;
      return [topic, changed, mutateValue(random, value)];
    },
    take: async ([topic, key, value]: [string, string, unknown]) => {
      // Some of these remove the writer; and what stays should be little, so that each input meets a similar node.
      if (written++ % 500 === 0) {
        await node.cluster.stop();
        node = await listening();
        node.admit(manager);
        writer = new Writer(manager);
        node.cluster.tables.addInterest(network);
        node.cluster.tables.ingest(writer.write(clusterTopic, '', 1));
        node.cluster.tables.ingest(writer.write(network, '', 1));
      }
      let signed: SignedRecord;
      try {
        signed = writer.write(topic, key, value ?? null);
      } catch {
        // Too large, or nothing that msgpack can say: its writer would not have got further either.
        return;
      }
      const { cluster, events } = node;
      events.gossip(topic, packed([toWire(signed)]), writer.nodeId);
      const { view, self } = cluster;
      const tables = { self, vtep: '192.0.2.1', port: 4789, nodes: view.nodes, networks: view.networks };
      const leg = { networkId, endpointId, ifName: 'eth0', mac: '02:42:0a:00:01:09', ip: '10.0.1.9', aliases: [] };
      const sandbox = {
        ...{ id: 's', name: 's', createdMs: 0, netns: '/run/netns/s', adopted: false, inode: null, labels: {} },
        ...{ legs: [{ ...leg, createdMs: 0 }], gateway: null },
      };
      plan({ ...tables, endpoints: view.endpoints }, { sandboxes: [sandbox], gateway: null, underlayMtu: 1500 });
    },
  };
}
