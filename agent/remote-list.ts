import type { NodeId } from '../controlplane/ids.ts';
import type { NodeValue } from '../controlplane/tables/kinds.ts';
import type { Endpoint, Network } from '../controlplane/tables/view.ts';
import type { RemoteEndpoint } from '../dataplane/desired.ts';
import { byAge, type EndpointTables, heldBy, objection, type Remotes, reading, thisHost } from './remotes.ts';

/** An endpoint that counts for something. */
interface Entry {
  readonly endpoint: Endpoint;
  /** What it asks for; empty when its record makes no sense. */
  readonly claims: readonly RemoteEndpoint[];
  /** Why it is left out; '' when it is not. */
  objection: string;
}

/** So many entries are put into their places one by one; more are merged in. */
const SINGLY_MAX = 16;

/**
 * The remotes of one network, kept as endpoints come and go, so that one that changes does not cost a look at all others. It
 * equals `remotesOf` at every point: who keeps an address that several claim is decided anew for just those that are
 * connected by shared addresses with what has changed.
 */
export class RemoteList {
  readonly #network: Network;
  readonly #entries = new Map<string, Entry>();
  /** All entries, the oldest first. */
  #sorted: Entry[] = [];
  /** By IP and MAC, those who claim it. Nearly always one. */
  readonly #claimants = new Map<string, Entry | readonly Entry[]>();
  #own: ReadonlySet<string> = new Set();
  /** As they were when the list was last brought up to date. */
  #nodes = new Map<NodeId, NodeValue>();
  #result: Remotes | null = null;

  constructor(network: Network) {
    this.#network = network;
  }

  /**
   * Brings it up to date.
   * @param touched names of endpoints that came, changed or went; null: any may have
   * @param nodes whether nodes may have changed
   */
  update(
    tables: EndpointTables,
    own: ReadonlySet<string>,
    touched: ReadonlySet<string> | null,
    nodes: boolean,
  ): Remotes {
    const endpoints = tables.endpoints.get(this.#network.id) ?? new Map<string, Endpoint>();
    const names = new Set(touched ?? [...endpoints.keys(), ...this.#entries.keys()]);
    if (nodes && touched !== null) this.#addOfChangedNodes(names, tables.nodes, endpoints);
    if (nodes || touched === null) this.#nodes = new Map(tables.nodes);
    // Of what one alone claims nobody has to decide.
    const doubtful = this.#differences(own);
    this.#own = own;
    const gone = new Set<Entry>();
    const fresh: Entry[] = [];
    for (const name of names) {
      const before = this.#entries.get(name);
      const endpoint = endpoints.get(name);
      const read = endpoint === undefined ? null : reading(endpoint, tables);
      const claims = read?.ok ? read.value : noClaims;
      // The same reading of the same record is the same object.
      if (before !== undefined && endpoint === before.endpoint && read?.ok && claims === before.claims) continue;
      if (before !== undefined) {
        gone.add(before);
        this.#entries.delete(name);
        for (const address of addressesIn(before)) if (this.#unclaim(address, before)) doubtful.add(address);
      }
      if (endpoint === undefined || read === null) continue;
      const entry = { endpoint, claims, objection: read.ok ? '' : objection(endpoint, tables, read.reason) };
      fresh.push(entry);
      this.#entries.set(name, entry);
      for (const address of addressesIn(entry)) {
        if (this.#claim(address, entry) || own.has(address)) doubtful.add(address);
      }
    }
    if (this.#result && gone.size + fresh.length + doubtful.size === 0) return this.#result;
    this.#place(gone, fresh);
    this.#settle(tables, doubtful);
    this.#result = this.#collect();
    return this.#result;
  }

  /** Endpoints of nodes that came, changed or went since the last time. */
  #addOfChangedNodes(
    names: Set<string>,
    nodes: ReadonlyMap<NodeId, NodeValue>,
    endpoints: ReadonlyMap<string, Endpoint>,
  ): void {
    const changed = new Set<NodeId>();
    for (const [id, node] of nodes) if (this.#nodes.get(id) !== node) changed.add(id);
    for (const id of this.#nodes.keys()) if (!nodes.has(id)) changed.add(id);
    if (changed.size === 0) return;
    for (const [name, { owner }] of endpoints) if (changed.has(owner)) names.add(name);
  }

  /** Addresses that this host has come to hold, or holds no more. */
  #differences(own: ReadonlySet<string>): Set<string> {
    const differences = new Set<string>();
    for (const address of own) if (!this.#own.has(address)) differences.add(address);
    for (const address of this.#own) if (!own.has(address)) differences.add(address);
    return differences;
  }

  /** @returns whether others claim it, too */
  #claim(address: string, entry: Entry): boolean {
    const known = this.#claimants.get(address);
    this.#claimants.set(address, known === undefined ? entry : [...claimantsIn(known), entry]);
    return known !== undefined;
  }

  /** @returns whether others claim it still */
  #unclaim(address: string, entry: Entry): boolean {
    const left = claimantsIn(this.#claimants.get(address)).filter((each) => each !== entry);
    if (left.length === 0) this.#claimants.delete(address);
    else this.#claimants.set(address, left.length === 1 && left[0] ? left[0] : left);
    return left.length > 0;
  }

  /** Keeps the order by age. */
  #place(gone: ReadonlySet<Entry>, fresh: Entry[]): void {
    if (gone.size + fresh.length <= SINGLY_MAX) {
      for (const entry of gone) this.#sorted.splice(this.#placeOf(entry), 1);
      for (const entry of fresh) this.#sorted.splice(this.#placeOf(entry), 0, entry);
      return;
    }
    fresh.sort((a, b) => byAge(a.endpoint, b.endpoint));
    const merged: Entry[] = [];
    let next = 0;
    for (const entry of this.#sorted) {
      if (gone.has(entry)) continue;
      for (let each = fresh[next]; each && byAge(each.endpoint, entry.endpoint) < 0; each = fresh[next]) {
        merged.push(each);
        next += 1;
      }
      merged.push(entry);
    }
    for (; next < fresh.length; next += 1) if (fresh[next]) merged.push(fresh[next] as Entry);
    this.#sorted = merged;
  }

  /** Where it is, or belongs. */
  #placeOf({ endpoint }: Entry): number {
    let [low, high] = [0, this.#sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const there = this.#sorted[middle];
      if (there && byAge(there.endpoint, endpoint) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Decides who of those that are connected with these addresses gets what it asks for: the older first. */
  #settle(tables: EndpointTables, doubtful: Set<string>): void {
    const concerned = new Set<Entry>();
    // A set takes what is added while it is gone through.
    for (const address of doubtful) {
      for (const entry of claimantsIn(this.#claimants.get(address))) {
        if (concerned.has(entry)) continue;
        concerned.add(entry);
        for (const other of addressesIn(entry)) doubtful.add(other);
      }
    }
    const taken = new Map<string, string>();
    const holderOf = (address: string): string | undefined => (this.#own.has(address) ? thisHost : taken.get(address));
    for (const entry of [...concerned].sort((a, b) => byAge(a.endpoint, b.endpoint))) {
      const { endpoint, claims } = entry;
      const held = claims.find(({ ip, mac }) => holderOf(ip) !== undefined || holderOf(mac) !== undefined);
      if (held !== undefined) {
        const holder = holderOf(held.ip) ?? holderOf(held.mac) ?? '';
        entry.objection = objection(endpoint, tables, heldBy(held, this.#network, holder));
        continue;
      }
      entry.objection = '';
      const hostname = tables.nodes.get(endpoint.owner)?.hostname ?? '';
      for (const { ip, mac } of claims) taken.set(ip, hostname).set(mac, hostname);
    }
  }

  #collect(): Remotes {
    const remotes: RemoteEndpoint[] = [];
    const objections: string[] = [];
    for (const { claims, objection: why } of this.#sorted) {
      if (why === '') for (const remote of claims) remotes.push(remote);
      else objections.push(why);
    }
    return { remotes, objections };
  }
}

const noClaims: readonly RemoteEndpoint[] = [];

function addressesIn({ claims }: Entry): string[] {
  const addresses: string[] = claims.map(({ ip }) => ip);
  // One for both families.
  if (claims[0]) addresses.push(claims[0].mac);
  return addresses;
}

function claimantsIn(found: Entry | readonly Entry[] | undefined): readonly Entry[] {
  if (found === undefined) return [];
  return 'endpoint' in found ? [found] : found;
}
