// Finds out how large a packet a path takes, from which probes are answered and which are not. Pure, but for `Ask`.
// Sizes are those of whole IP packets, in bytes. A probe that is lost says nothing by itself: loss is not MTU, and a dead
// peer is not a small MTU. So a size counts as too large only when it was lost so often, while smaller ones came through
// at the same time, that chance would have done the same less than once in a thousand times.

/** What one try found: each size was sent once, between two probes so small that every path takes them. */
export interface Tried {
  readonly answered: ReadonlySet<number>;
  /** The kernel of this host refused to send them: EMSGSIZE. */
  readonly refused: ReadonlySet<number>;
  /** How many of the two small probes were answered. */
  readonly controls: number;
}

export type Ask = (sizes: readonly number[]) => Promise<Tried>;

const chance = 1e-3;
const controlsPerTry = 2;
/** Tries in a row without any answer, after which nobody is there. */
const silentTries = 3;
/** With half of all probes lost it takes ten tries to tell; where it takes more than this nothing can be told. */
const triesMax = 30;
/** Sizes of one try: with a few more of them a search is no shorter. */
const sizesPerTry = 8;

/**
 * MTUs that paths have in practice (RFC 1191 section 7 has the idea; Ethernet with and without jumbo frames, PPPoE, tunnels
 * of all kinds, WireGuard, IPv6's least), asked about before any in between.
 */
const plateaus = [
  576, 1280, 1300, 1320, 1340, 1350, 1360, 1380, 1390, 1400, 1410, 1420, 1430, 1440, 1442, 1450, 1460, 1472, 1476, 1480,
  1492, 1496, 1500, 2000, 3000, 4000, 4352, 6000, 8000, 8192, 8500, 8900, 8951, 9000, 9001, 9198, 9216, 16_000, 32_000,
  65_535,
];

/** Loss of probes that fit, so far; it begins with one of each kind, so that a few answers do not prove that none is lost. */
class Loss {
  #sent = 2;
  #lost = 1;

  add(sent: number, lost: number): void {
    this.#sent += sent;
    this.#lost += lost;
  }

  /** Whether so many losses in a row of a probe that fits are less likely than `chance`. */
  excludes(losses: number): boolean {
    return (this.#lost / this.#sent) ** losses < chance;
  }
}

/** `proven`: the largest size that came through, 0 for none; `refuted`: the smallest that is too large, Infinity for none. */
export interface Bounds {
  readonly proven: number;
  readonly refuted: number;
}

/**
 * Asks about sizes until each is known to fit or not.
 * @returns null when nobody answers at all; what is known when it cannot be told
 */
export async function decide(sizes: readonly number[], ask: Ask): Promise<Bounds | null> {
  const loss = new Loss();
  const losses = new Map(sizes.map((size) => [size, 0]));
  let proven = 0;
  let refuted = Number.POSITIVE_INFINITY;
  let silent = 0;
  const open = (): number[] =>
    [...losses.keys()].filter((size) => size > proven && size < refuted).sort((a, b) => a - b);
  for (let tries = 0; tries < triesMax; tries += 1) {
    const all = open();
    // The first try asks about all; what is left is decided from below.
    const asked = tries === 0 ? all : all.slice(0, 2);
    if (asked.length === 0) break;
    const { answered, refused, controls } = await ask(asked);
    for (const size of answered) proven = Math.max(proven, size);
    for (const size of refused) if (size > proven) refuted = Math.min(refuted, size);
    if (controls === 0 && answered.size === 0) {
      silent += 1;
      if (silent < silentTries) continue;
      return proven === 0 ? null : { proven, refuted };
    }
    silent = 0;
    const fitting = asked.filter((size) => size <= proven);
    loss.add(controlsPerTry + fitting.length, controlsPerTry - controls + fitting.length - answered.size);
    for (const size of asked) {
      if (size <= proven || refused.has(size)) continue;
      const lost = (losses.get(size) ?? 0) + 1;
      losses.set(size, lost);
      if (loss.excludes(lost)) refuted = Math.min(refuted, size);
    }
  }
  return { proven, refuted };
}

/** Which sizes to ask about next, ascending; none when the bounds are as close as they can be. */
export function nextSizes({ proven, refuted }: Bounds, count = sizesPerTry): number[] {
  if (refuted - proven <= 1) return [];
  const usual = plateaus.filter((size) => size > proven && size < refuted);
  // One more than what is proven: mostly the usual size that came through is the path's own.
  if (usual.length > 0) return [...new Set([...(proven > 0 ? [proven + 1] : []), ...spread(usual, count - 1)])];
  const between = refuted - proven - 1;
  if (between <= count) return Array.from({ length: between }, (_, at) => proven + 1 + at);
  const step = between / count;
  const even = Array.from({ length: count - 1 }, (_, at) => Math.floor(proven + 1 + step * (at + 0.5)));
  return [...new Set([proven + 1, ...even])];
}

/** At most `count` of a list, evenly. */
function spread(list: readonly number[], count: number): number[] {
  if (list.length <= count) return [...list];
  return Array.from({ length: count }, (_, at) => list[Math.floor(((at + 0.5) * list.length) / count)] ?? 0);
}

export interface Limits {
  /** What is said of a path that takes even less; every path of the family should take so much. */
  readonly floor: number;
  /** MTU of the device that the path begins at. */
  readonly ceiling: number;
}

/** @returns the largest size that the path takes; null when nobody answers, or it cannot be told for loss */
export async function findPathMtu({ floor, ceiling }: Limits, ask: Ask): Promise<number | null> {
  const whole = await decide([ceiling], ask);
  if (whole === null) return null;
  if (whole.proven === ceiling) return ceiling;
  if (whole.refuted !== ceiling) return null;
  let bounds: Bounds = { proven: 0, refuted: ceiling };
  for (;;) {
    const sizes = bounds.proven === 0 ? [floor, ...nextSizes({ proven: floor, refuted: ceiling })] : nextSizes(bounds);
    if (sizes.length === 0 || floor >= ceiling) return Math.min(Math.max(bounds.proven, floor), ceiling);
    const found = await decide(sizes, ask);
    if (found === null) return null;
    if (found.refuted <= floor) return floor;
    const next = { proven: Math.max(bounds.proven, found.proven), refuted: Math.min(bounds.refuted, found.refuted) };
    // Not even the floor, and nothing is known to be too large: the probes are lost for another reason.
    if (next.proven <= bounds.proven && next.refuted >= bounds.refuted) return null;
    // A path that has just come to take less, or more: begin again another time.
    if (next.proven >= next.refuted) return null;
    bounds = next;
  }
}
