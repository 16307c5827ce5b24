import type { Link } from '../rtnetlink/links.ts';
import { type EntrySink, encodeNeighbourDump, tellEntry } from '../rtnetlink/neighbours.ts';
import type { NetlinkSocket } from '../rtnetlink/socket.ts';
import { AF_BRIDGE, AF_INET, AF_INET6 } from '../rtnetlink/wire.ts';
import type { Observed, ObservedTunnel } from './observed.ts';

type Weft = Observed['weft'];
type Links = ReadonlyMap<number, Link>;

/** Takes what is listed; `restart` is told when a family is about to be listed again from its beginning. */
interface Taker extends EntrySink {
  restart(family: number): void;
}

/**
 * Lists the entries of all tunnels and ports of the overlay namespace into `weft`. Of 100,000 nearly always none has changed,
 * so they are first only compared with those `before`; where all tunnels hold exactly these, the same objects are handed
 * on, which tells the reader that nothing has. Throws SystemError.
 */
export async function observeEntries(
  socket: NetlinkSocket,
  weft: Weft,
  links: Links,
  before: ReadonlyMap<string, ObservedTunnel>,
): Promise<void> {
  if (before.size > 0) {
    const comparison = new Comparison(weft, links, before);
    await listAll(socket, comparison);
    if (comparison.handOn()) return;
    forget(weft, AF_BRIDGE);
  }
  await listAll(socket, new Filling(weft, links));
}

async function listAll(socket: NetlinkSocket, taker: Taker): Promise<void> {
  for (const family of [AF_BRIDGE, AF_INET, AF_INET6]) {
    await socket.dump(
      'neighbours',
      (writer, seq) => encodeNeighbourDump(writer, seq, family),
      (message) => {
        tellEntry(message, taker);
        return null;
      },
      () => taker.restart(family),
    );
  }
}

/** Puts entries straight into the maps, not into a list first: filling them from 100,000 at once would block. */
class Filling implements Taker {
  readonly #weft: Weft;
  readonly #links: Links;
  readonly #tunnels: ReadonlyMap<number, ObservedTunnel | undefined>;

  constructor(weft: Weft, links: Links) {
    this.#weft = weft;
    this.#links = links;
    this.#tunnels = new Map([...links].map(([index, { name }]) => [index, weft.tunnels.get(name)]));
  }

  fdb(ifindex: number, mac: string, vtep: string, permanent: boolean): void {
    if (permanent) this.#tunnels.get(ifindex)?.fdb.set(mac, vtep);
    else this.foreign(ifindex, mac, vtep);
  }

  foreign(ifindex: number, mac: string, vtep: string): void {
    const { foreignFdb } = this.#weft;
    const name = this.#links.get(ifindex)?.name;
    if (name !== undefined) foreignFdb.set(name, (foreignFdb.get(name) ?? new Map()).set(mac, vtep));
  }

  static(ifindex: number, mac: string): void {
    const { statics } = this.#weft;
    const name = this.#links.get(ifindex)?.name;
    if (name !== undefined) statics.set(name, (statics.get(name) ?? new Set()).add(mac));
  }

  neighbour(ifindex: number, ip: string, mac: string, ours: boolean): void {
    this.#tunnels.get(ifindex)?.neighbours.set(ip, { mac, ours });
  }

  restart(family: number): void {
    forget(this.#weft, family);
  }
}

/** Empties what a listing of one family has filled so far. */
function forget(weft: Weft, family: number): void {
  if (family === AF_BRIDGE) {
    weft.statics.clear();
    weft.foreignFdb.clear();
  }
  for (const { fdb, neighbours } of weft.tunnels.values()) {
    if (family === AF_BRIDGE) fdb.clear();
    else for (const ip of neighbours.keys()) if (ip.includes(':') === (family === AF_INET6)) neighbours.delete(ip);
  }
}

/** Compares tunnels with what they held before, by looking each entry up and counting; the rest it lists. */
class Comparison extends Filling {
  readonly #weft: Weft;
  readonly #before: ReadonlyMap<string, ObservedTunnel>;
  readonly #known = new Map<number, { readonly tunnel: ObservedTunnel; fdb: number; ipv4: number; ipv6: number }>();
  #differs = false;

  constructor(weft: Weft, links: Links, before: ReadonlyMap<string, ObservedTunnel>) {
    super(weft, links);
    this.#weft = weft;
    this.#before = before;
    for (const [index, { name }] of links) {
      const tunnel = weft.tunnels.has(name) ? (before.get(name) ?? weft.tunnels.get(name)) : undefined;
      if (tunnel) this.#known.set(index, { tunnel, fdb: 0, ipv4: 0, ipv6: 0 });
    }
  }

  override fdb(ifindex: number, mac: string, vtep: string, permanent: boolean): void {
    if (!permanent) {
      this.foreign(ifindex, mac, vtep);
      return;
    }
    const known = this.#known.get(ifindex);
    if (!known) return;
    known.fdb++;
    if (known.tunnel.fdb.get(mac) !== vtep) this.#differs = true;
  }

  override neighbour(ifindex: number, ip: string, mac: string, ours: boolean): void {
    const known = this.#known.get(ifindex);
    if (!known) return;
    if (ip.includes(':')) known.ipv6++;
    else known.ipv4++;
    const entry = known.tunnel.neighbours.get(ip);
    if (entry?.mac !== mac || entry.ours !== ours) this.#differs = true;
  }

  override restart(family: number): void {
    super.restart(family);
    for (const known of this.#known.values()) {
      if (family === AF_BRIDGE) known.fdb = 0;
      else if (family === AF_INET) known.ipv4 = 0;
      else known.ipv6 = 0;
    }
  }

  /** Has the listing hold the tunnels of before, if they are the same; says whether they are. */
  handOn(): boolean {
    const same = [...this.#known.values()].every(
      ({ tunnel, fdb, ipv4, ipv6 }) => fdb === tunnel.fdb.size && ipv4 + ipv6 === tunnel.neighbours.size,
    );
    if (this.#differs || !same) return false;
    const { tunnels } = this.#weft;
    for (const [name, { ipv6, softwareChecksums }] of tunnels) {
      const tunnel = this.#before.get(name);
      if (!tunnel) continue;
      tunnel.ipv6 = ipv6;
      tunnel.softwareChecksums = softwareChecksums;
      tunnels.set(name, tunnel);
    }
    return true;
  }
}
