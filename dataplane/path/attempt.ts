import type { Tried } from './search.ts';
import type { ProbeTarget, ProbeWay } from './way.ts';

/** So small that every path takes it, and still as large as a request has to be. */
const controlBytes = 128;
/** Until an answer is late, when nothing is known of the round trip. */
const firstWaitMs = 1_000;
/** A round trip on a network that is well is a hundredth of it; what is later is sent again. */
const leastWaitMs = 100;
const roundTrips = 4;

export interface Attempt {
  readonly target: ProbeTarget;
  readonly sizes: readonly number[];
  readonly ways: readonly ProbeWay[];
  /**
   * The one way that each size is sent by, without small probes around it; those of the others only tell whether they have
   * come to be answered. Null: each size by all ways at once, since a filter may pass small packets of one kind and no
   * large ones, between small ones of each.
   */
  readonly alone: ProbeWay['name'] | null;
  /**
   * Before the small ones rather than between them. To be taken in turns: where a firewall answers so many a second and no
   * more, what is sent first is answered, and the rest is not lost by chance.
   */
  readonly sizesFirst: boolean;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** Sends each size once, and waits until all is answered or late. Also tells by which ways anything was answered. */
export async function attempt({
  target,
  sizes,
  ways,
  alone,
  sizesFirst,
  now,
}: Attempt): Promise<Tried & { readonly heard: ReadonlySet<ProbeWay['name']> }> {
  const answered = new Set<number>();
  const refused = new Set<number>();
  const controls = new Set<number>();
  const heard = new Set<ProbeWay['name']>();
  const ends: (() => void)[] = [];
  let timer: NodeJS.Timeout | undefined;
  const startMs = now();
  await new Promise<void>((resolve) => {
    const wait = (ms: number): void => {
      clearTimeout(timer);
      // What is waiting to be read when a busy process comes to this at last was no late answer.
      timer = setTimeout(() => setImmediate(() => setImmediate(resolve)), ms);
    };
    const isDone = (): boolean =>
      sizes.every((size) => answered.has(size) || refused.has(size)) && (alone !== null || controls.size === 2);
    const send = (way: ProbeWay, bytes: number, note: () => void, refuse: () => void = () => {}): void => {
      const hear = (what: 'answer' | 'refused'): void => {
        if (what === 'refused') refuse();
        else {
          note();
          heard.add(way.name);
        }
        // UDP is waited for besides: from then on it does alone, and its answers are short.
        if (isDone() && heard.has('udp')) resolve();
        // The others are not far behind the first one.
        else if (what === 'answer') wait(Math.max(leastWaitMs, (now() - startMs) * roundTrips));
      };
      ends.push(way.send(target, bytes, hear));
    };
    const control = (which: number): void => {
      for (const way of ways) send(way, controlBytes, () => controls.add(which));
    };
    wait(firstWaitMs);
    if (alone === null && !sizesFirst) control(1);
    for (const way of ways) {
      if (alone !== null && way.name !== alone) {
        if (way.name === 'udp') send(way, controlBytes, () => {});
        continue;
      }
      for (const size of sizes) {
        send(
          way,
          size,
          () => answered.add(size),
          () => refused.add(size),
        );
      }
    }
    if (alone === null && sizesFirst) control(1);
    if (alone === null) control(2);
  });
  clearTimeout(timer);
  for (const end of ends) end();
  return { answered, refused, controls: controls.size, heard };
}
