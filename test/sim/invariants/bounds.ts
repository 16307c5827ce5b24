import type { NodeId } from '../../../controlplane/ids.ts';
import type { Host } from '../host.ts';
import { type Invariant, running } from '../world.ts';

/** What is gathered of an owner besides what readers see: its newest epoch, and one before that. */
const maxEpochs = 3;

/** What nobody needs any more is not kept, however the cluster came to where it is. */
export const bounds: Invariant = {
  name: 'a disk holds what its node has a use for, and no more',
  when: 'agreed',
  check: (world) => {
    for (const host of running(world)) {
      const wrong = excess(host);
      if (wrong !== null) return `${host.name}: ${wrong}`;
    }
    return null;
  },
};

function excess(host: Host): string | null {
  const { cluster, disk } = host;
  // What was forgotten a moment ago is on its way.
  if (cluster === null || !host.isStored) return null;
  const epochs = new Map<string, Set<number>>();
  for (const [[, topic, owner, epoch]] of disk.entries(['record'])) {
    const stream = `${owner} in ${topic}`;
    if (![...cluster.tables.owners(String(topic))].includes(owner as NodeId))
      return `records of ${stream}, forgotten since`;
    epochs.set(stream, (epochs.get(stream) ?? new Set()).add(Number(epoch)));
  }
  for (const [stream, { size }] of epochs) if (size > maxEpochs) return `${size} epochs of ${stream}`;
  return null;
}

/** A restart must not begin with less than what was there. */
export const stored: Invariant = {
  name: 'a disk holds what its node shows',
  when: 'agreed',
  check: (world) => {
    for (const { name, nodeId, cluster, disk, isStored } of running(world)) {
      if (cluster === null || !isStored) continue;
      for (const topic of cluster.tables.topics) {
        for (const { record } of cluster.tables.records(topic)) {
          const { owner, epoch, key } = record;
          if (owner === nodeId || disk.get(['record', topic, owner, epoch, key]) !== undefined) continue;
          return `${name}: ${key} of ${owner} is not there`;
        }
      }
    }
    return null;
  },
};
