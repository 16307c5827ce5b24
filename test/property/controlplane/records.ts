import { createHash } from 'node:crypto';
import type { NodeId } from '../../../controlplane/ids.ts';
import { clusterTopic, type SignedRecord } from '../../../controlplane/tables/record.ts';
import { Stream } from '../../../controlplane/tables/stream.ts';

export const owner = 'owner' as NodeId;

/** A record as a stream takes it; the signature is checked before. */
export function record(epoch: number, seq: number, key: string, value: unknown): SignedRecord {
  // Another signature for other content, as a real one has.
  const signature = createHash('sha512')
    .update(JSON.stringify([epoch, seq, key, value]))
    .digest();
  return { record: { topic: clusterTopic, owner, epoch, seq, key, value }, payload: new Uint8Array(), signature };
}

/** What the owner does in one epoch after another: sets or removes a key; `restart` begins the next epoch. */
export type Action =
  | { readonly set: string; readonly to: number }
  | { readonly remove: string }
  | { readonly restart: true };

/** Everything that the owner ever wrote, in order, and its own stream at the end. */
export function write(actions: readonly Action[]): { all: SignedRecord[]; stream: Stream; live: Map<string, unknown> } {
  const all: SignedRecord[] = [];
  const stream = new Stream();
  const live = new Map<string, unknown>();
  let [epoch, seq] = [0, 0];
  const append = (key: string, value: unknown): void => {
    seq += 1;
    const signed = record(epoch, seq, key, value);
    all.push(signed);
    stream.offer(signed);
  };
  const open = (): void => {
    [epoch, seq] = [epoch + 1, 0];
    append('', live.size + 1);
    for (const [key, value] of live) append(key, value);
  };
  open();
  for (const action of actions) {
    if ('restart' in action) {
      open();
    } else if ('set' in action) {
      live.set(action.set, action.to);
      append(action.set, action.to);
    } else if (live.delete(action.remove)) append(action.remove, null);
  }
  return { all, stream, live };
}

export const liveOf = (stream: Stream): Map<string, unknown> =>
  new Map([...stream.live()].map((signed) => [signed.record.key, signed.record.value]));
