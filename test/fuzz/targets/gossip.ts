import assert from 'node:assert/strict';
import { livenessTopic, signStatement, statementsToWire } from '../../../controlplane/liveness/statement.ts';
import type { Verdict } from '../../../controlplane/mesh/transport.ts';
import { clusterTopic, toWire } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { Writer } from '../../unit/controlplane/helpers.ts';
import type { Fate, Target } from '../engine.ts';
import { msgpackOf } from '../inputs.ts';
import { packed } from '../mutate.ts';
import { listening, network } from './nodes.ts';
import { valuesBy } from './values.ts';

const fates: { readonly [verdict in Verdict]: Fate } = { accept: 'taken', ignore: 'read', reject: 'refused' };

/** What is flooded through the mesh: records, and what nodes say of each other's liveness. */
export async function gossipTargets(): Promise<Target[]> {
  const [manager, worker] = [await identityOf(1, 'manager'), await identityOf(2, 'worker')];
  const from = worker.key.nodeId;
  const writer = new Writer(manager);
  const values = await valuesBy(manager);
  const write = (topic: string, count: number): unknown[] => {
    const all = [writer.write(topic, '', 1)];
    for (const { key, value, ...each } of values) if (each.topic === topic) all.push(writer.write(topic, key, value));
    return all.slice(0, count).map(toWire);
  };
  const node = await listening([manager, worker]);
  node.cluster.tables.addInterest(network);
  node.transport.connect(from, 'inbound');
  const frames = [
    { topic: clusterTopic, frame: write(clusterTopic, 8) },
    { topic: network, frame: write(network, 8) },
  ];
  const signatures = new Set(
    frames.flatMap(({ frame }) => frame.map((each) => hex((each as [unknown, Uint8Array])[1]))),
  );
  const records: Target = {
    name: 'gossip of records',
    weight: 21,
    valid: frames.map(({ topic, frame }) => [topic, packed(frame)]),
    make: (random) => {
      const { topic, frame } = random.pick(frames) ?? { topic: network, frame: [] };
      return [random.chance(0.9) ? topic : livenessTopic, msgpackOf(random, [frame, [frame[1]]])];
    },
    take: ([topic, bytes]: [string, Uint8Array]) => {
      const verdict = node.events.gossip(topic, bytes, from);
      for (const each of node.cluster.tables.records(clusterTopic))
        if (each.record.owner === writer.nodeId)
          assert.ok(signatures.has(hex(each.signature)), 'a record that its owner did not sign');
      return fates[verdict];
    },
  };
  const incarnation = { epoch: 1, count: 0 };
  const { clusterId } = manager;
  // An accusation counts once the word of the accused is known that it is about.
  const statements = [
    signStatement(worker.key, clusterId, { subject: from, incarnation, claim: null }, 1),
    signStatement(manager.key, clusterId, { subject: from, incarnation, claim: 'silent' }, 1),
  ];
  const wires = statements.map(({ payload, signature }) => [payload, signature]);
  const liveness: Target = {
    name: 'gossip of liveness',
    weight: 6,
    valid: statements.map((each) => statementsToWire([each])),
    make: (random) => msgpackOf(random, [wires, [wires[1]]]),
    take: (bytes: Uint8Array) => fates[node.events.gossip(livenessTopic, bytes, from)],
  };
  return [records, liveness];
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
