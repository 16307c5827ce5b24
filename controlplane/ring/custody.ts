import type { NodeId } from '../ids.ts';
import { append, type Grant, inside, type Owned, type Range, splitByOwner, unfounded } from './ring.ts';

/**
 * Who owns what of one ring, by the grants that are known here. A grant that comes or goes is worked in where it lies,
 * so that looking up an owner costs a binary search, whatever else there is.
 */
export class Custody {
  readonly #grants = new Map<string, Grant>();
  #whole: Range | null = null;
  #root: NodeId | null = null;
  #runs: Owned[] = [];
  readonly #byOwner = new Map<NodeId, readonly Owned[]>();

  /** The whole ring in order, as maximal runs; empty until its size and root are known. */
  get runs(): readonly Owned[] {
    return this.#runs;
  }

  get grants(): Iterable<Grant> {
    return this.#grants.values();
  }

  /** @returns what may have changed hands; null for nothing */
  setSpace(size: number, root: NodeId): Range | null {
    if (this.#whole?.end === size && this.#root === root) return null;
    this.#whole = { start: 0, end: size };
    this.#root = root;
    this.#setRuns(splitByOwner(this.#whole, root, this.#grants.values()));
    return this.#whole;
  }

  /** The ring is gone, or not known yet: nobody owns anything of it until its space is known again. */
  close(): void {
    this.#whole = null;
    this.#root = null;
    this.#setRuns([]);
  }

  /** Nothing is known of it. */
  get isEmpty(): boolean {
    return this.#whole === null && this.#grants.size === 0;
  }

  /** @param name of the grant; null takes it away @returns what may have changed hands; null for nothing */
  set(name: string, grant: Grant | null): Range | null {
    const before = this.#grants.get(name);
    if (grant === null) this.#grants.delete(name);
    else this.#grants.set(name, grant);
    const all = [before, grant].flatMap((each) => each ?? []);
    if (!all.some((each) => this.#matters(each))) return null;
    const touched = {
      start: Math.min(...all.map(({ start }) => start)),
      end: Math.max(...all.map(({ end }) => end)),
    };
    this.#resplit(touched);
    return touched;
  }

  /** Whether it has an effect anywhere: one of a worker that is ahead of the chain has none, however many there are. */
  #matters({ start, end, by, generation, byManager }: Grant): boolean {
    if (byManager || this.#whole === null) return true;
    for (let at = this.#indexOf(start); (this.#runs[at]?.start ?? end) < end; at += 1) {
      const run = this.#runs[at] as Owned;
      if (generation <= run.generation || (generation === run.generation + 1 && by === run.owner)) return true;
    }
    return false;
  }

  /**
   * A writer became a manager. The other way round nothing changes: what it wrote as a manager was true then.
   * @returns what may have changed hands
   */
  promoted(isManager: (node: NodeId) => boolean): Range[] {
    const changed: Range[] = [];
    for (const [name, grant] of this.#grants) {
      if (grant.byManager || !isManager(grant.by)) continue;
      const range = this.set(name, { ...grant, byManager: true });
      if (range !== null) changed.push(range);
    }
    return changed;
  }

  /** The run that holds the number. */
  at(number: number): Owned | null {
    const found = this.#runs[this.#indexOf(number)];
    return found !== undefined && found.start <= number ? found : null;
  }

  /** Index of the run that holds the number, or would. */
  #indexOf(number: number): number {
    let [low, high] = [0, this.#runs.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#runs[middle] as Owned).end <= number) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  of(owner: NodeId): readonly Owned[] {
    const known = this.#byOwner.get(owner) ?? this.#runs.filter((run) => run.owner === owner);
    this.#byOwner.set(owner, known);
    return known;
  }

  /** The runs, or parts of them, that nobody could prove any more without the grants of `writer`. */
  dependingOn(writer: NodeId): Owned[] {
    const grants = [...this.#grants.values()];
    if (this.#whole === null || this.#root === null || !grants.some(({ by }) => by === writer)) return [];
    const rest = splitByOwner(
      this.#whole,
      this.#root,
      grants.filter(({ by }) => by !== writer),
    );
    return rest.flatMap((without) =>
      inside(this.#runs, without).filter(
        ({ owner, generation }) => owner !== without.owner || generation !== without.generation,
      ),
    );
  }

  /** Who wrote the grant by which the run is held. */
  giverOf({ start, end, owner, generation }: Owned): NodeId | null {
    for (const grant of this.#grants.values()) {
      const covers = grant.start <= start && end <= grant.end;
      if (covers && grant.to === owner && grant.generation === generation && grant.by !== owner) return grant.by;
    }
    return null;
  }

  /** Grants whose writer did not own what they are over, as far as is known here. */
  unfounded(): ReadonlySet<Grant> {
    if (this.#whole === null || this.#root === null) return new Set();
    return unfounded(this.#whole, this.#root, this.#grants.values());
  }

  #resplit(range: Range): void {
    if (this.#whole === null || this.#root === null) return;
    const [part] = inside([range], this.#whole);
    if (part === undefined) return;
    const over: Grant[] = [];
    for (const grant of this.#grants.values()) if (grant.start < part.end && part.start < grant.end) over.push(grant);
    // Only what lies under the change is looked at; the runs on either side may grow together with it.
    const first = this.#indexOf(part.start);
    const last = this.#indexOf(part.end - 1);
    const runs = this.#runs.slice(0, first);
    const head = this.#runs[first] as Owned;
    if (head.start < part.start) append(runs, { ...head, end: part.start });
    for (const run of splitByOwner(part, this.#root, over)) append(runs, run);
    const tail = this.#runs[last] as Owned;
    if (tail.end > part.end) append(runs, { ...tail, start: part.end });
    const rest = this.#runs.slice(last + 1);
    const next = rest.shift();
    if (next !== undefined) append(runs, next);
    runs.push(...rest);
    this.#setRuns(runs);
  }

  #setRuns(runs: Owned[]): void {
    this.#runs = runs;
    this.#byOwner.clear();
  }
}
