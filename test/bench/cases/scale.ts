import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { encode } from '../../../controlplane/encoding.ts';

import { gossipDegree } from '../../../controlplane/mesh/shape.ts';
import { clusterTopic, decodeRecord, told } from '../../../controlplane/tables/record.ts';
import { Stream } from '../../../controlplane/tables/stream.ts';
import { Prng } from '../../sim/prng.ts';
import { type Costs, connections, type Gossip, mesh, spread } from '../../sim/scale.ts';
import type { Benchmark } from '../benchmark.ts';
import { percentile } from '../report.ts';

// The degree is ours; the rest are the defaults of @libp2p/gossipsub 17.1.1 (dist/src/constants.js).
const gossip: Gossip = { ...gossipDegree, Dlazy: 6, gossipFactor: 0.25, heartbeatMs: 1_000, historyGossip: 3 };
// Links as within a country. Of the costs only the check of a signature was measured (0.15 ms); that a new record takes
// twice as much in all, and what a known one and a write take, are assumptions.
const costs: Costs = {
  linkMs: 25,
  jitterMs: 5,
  firstMs: 0.3,
  againMs: 0.1,
  sendMs: 0.05,
  messageBytes: 450,
  offerBytes: 80,
};
const goalsMs: { readonly [nodes: number]: number } = { 1000: 300, 5000: 500 };
const recordsPerNode = 10;

// What a collection leaves is what is held.
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** Heap of the streams that one node holds of `count` others, each with a few endpoints. */
function tablesBytes(count: number): number {
  collect();
  const before = process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
  const streams = Array.from({ length: count }, () => {
    const stream = new Stream();
    const publicKey = randomBytes(32);
    for (let seq = 1; seq <= recordsPerNode + 1; seq += 1) {
      const key = seq === 1 ? '' : `ep/${randomBytes(32).toString('hex')}`;
      const value = seq === 1 ? recordsPerNode : { name: 'web', ip: '10.0.0.2', mac: '02:00:00:00:00:01', aliases: [] };
      // As it comes from the wire, of which a node keeps less than this makes; the signature is checked before.
      const signed = decodeRecord([encode([2, clusterTopic, publicKey, 1, seq, key, value, 0]), randomBytes(64)]);
      if (signed === null) throw new Error('not a record of this version');
      stream.offer(signed);
      told(signed);
    }
    return stream;
  });
  collect();
  const after = process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
  // Read once more, so that they are still held here.
  return streams.length === count ? after - before : 0;
}

export const benchmark: Benchmark = {
  name: 'scale',
  summary: 'simulated: a record published by one node until the last of up to 5,000 has taken it, over 25 ms links',
  options: { nodes: 'how many nodes (10,100,1000,5000)', samples: 'messages, each from another node (50)' },
  run: async ({ report, say, numbers }) => {
    const [samples = 50] = numbers('samples', [50]);
    for (const count of numbers('nodes', [10, 100, 1000, 5000])) {
      const links = connections(count);
      const degrees = links.map(({ length }) => length);
      say(`${count} nodes: ${Math.min(...degrees)} to ${Math.max(...degrees)} connections each`);
      const spreads = Array.from({ length: samples }, (_, i) => {
        const prng = new Prng(`scale ${count} ${i}`);
        return spread(links, mesh(links, gossip, prng), prng.between(0, count - 1), gossip, costs, prng);
      });
      const figure = { case: `${count} nodes`, samples };
      const toAll = spreads.map(({ toAllMs }) => toAllMs);
      const limit = goalsMs[count];
      report({ ...figure, metric: 'p50 to all', value: percentile(toAll, 0.5), unit: 'ms' });
      const goal = limit === undefined ? {} : { goal: { than: '<' as const, limit } };
      report({ ...figure, metric: 'p99 to all', value: percentile(toAll, 0.99), unit: 'ms', ...goal });
      const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
      report({ ...figure, metric: 'copies per node', value: mean(spreads.map(({ copies }) => copies)), unit: '' });
      report({ ...figure, metric: 'sent per node', value: mean(spreads.map(({ bytes }) => bytes)), unit: 'B' });
      const megabytes = tablesBytes(count) / 1024 ** 2;
      report({ ...figure, metric: 'tables of one node', value: megabytes, unit: 'MB', samples: 1 });
    }
  },
};
