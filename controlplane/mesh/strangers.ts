/**
 * The connections at an open port whose other end has not shown yet what it wants. There are no more than so many: when
 * one more comes, the oldest goes of the address that has the most. So whoever opens connections and says nothing drives
 * out its own, and never those of an address that has fewer; of an address that many share, the newest are served.
 */
export class Strangers {
  readonly #max: number;
  /** In the order in which they came. */
  readonly #waiting = new Map<string, { readonly address: string; readonly close: () => void }>();

  constructor(max: number) {
    this.#max = max;
  }

  /** @param id of the connection, such as address and port of its other end */
  came(id: string, address: string, close: () => void): void {
    this.#waiting.set(id, { address, close });
    if (this.#waiting.size <= this.#max) return;
    const counts = new Map<string, number>();
    for (const each of this.#waiting.values()) counts.set(each.address, (counts.get(each.address) ?? 0) + 1);
    const most = Math.max(...counts.values());
    for (const [oldest, each] of this.#waiting) {
      if (counts.get(each.address) !== most) continue;
      this.#waiting.delete(oldest);
      each.close();
      return;
    }
  }

  /** It has said what it wants, or is gone. */
  left(id: string): void {
    this.#waiting.delete(id);
  }
}
