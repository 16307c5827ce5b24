import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { type Answer, classes, nameData, type Question, types } from './wire.ts';

// Who gets which answer. Pure: a question, the networks that the asker is on and what is known of them -> an answer.

/** An endpoint as far as names are concerned. */
export interface Named {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly ip?: string | undefined;
  readonly ip6?: string | undefined;
  /** `false`: its names do not lead to it for now. */
  readonly ready?: boolean | undefined;
  /** The node that it is on. */
  readonly owner: string;
}

/** The names of one network. Texts that are looked for are in lower case. */
export interface NetworkNames {
  /** Its own, in lower case. */
  readonly network: string;
  /** Endpoints that have it as their name or an alias. */
  named(name: string): ReadonlySet<Named> | undefined;
  /** Whoever has that address, which one of its subnets covers; null when none does. */
  at(address: string): ReadonlySet<Named> | undefined | null;
}

/**
 * `forward`: not ours to say. `noName`: it is, and there is nothing; for a PTR name also that nobody has the address.
 * `answer`: there is such a name; without records, none of the type that was asked for.
 */
export type Verdict =
  | { readonly kind: 'forward' }
  | { readonly kind: 'noName' }
  | { readonly kind: 'answer'; readonly answers: readonly Answer[] };

// What fits into an answer over UDP to those who take much, and more than anybody tries.
const maxAddresses = 250;
const tasks = 'tasks.';

const forward: Verdict = { kind: 'forward' };
const noName: Verdict = { kind: 'noName' };

/**
 * @param isUp whether a node is there; endpoints of others are left out
 * @param random uniform in [0, 1): the order of addresses
 */
export function decide(
  { name, type, class: of }: Question,
  networks: readonly NetworkNames[],
  isUp: (node: string) => boolean,
  random: () => number,
): Verdict {
  if (of !== classes.IN || networks.length === 0) return forward;
  const address = name.endsWith('.arpa') ? addressOf(name) : null;
  return address === null ? byName(name, type, networks, isUp, random) : byAddress(address, type, networks, isUp);
}

function byName(
  name: string,
  type: number,
  networks: readonly NetworkNames[],
  isUp: (node: string) => boolean,
  random: () => number,
): Verdict {
  let ours = false;
  // By address: one endpoint may be found by several ways.
  const found = new Set<Named>();
  for (const network of networks) {
    for (const endpoint of endpointsFor(name, network)) {
      ours = true;
      if (endpoint.ready !== false && isUp(endpoint.owner)) found.add(endpoint);
    }
  }
  if (!ours) return forward;
  // As if they were not there, and all the same not to be asked elsewhere.
  if (found.size === 0) return noName;
  const addresses: string[] = [];
  for (const { ip, ip6 } of found) {
    if (ip !== undefined && (type === types.A || type === types.ANY)) addresses.push(ip);
    if (ip6 !== undefined && (type === types.AAAA || type === types.ANY)) addresses.push(ip6);
  }
  return { kind: 'answer', answers: shuffled(addresses, random).map(addressRecord) };
}

const nobody: ReadonlySet<Named> = new Set();

/** Of `db` on network frontend: `db`, `db.frontend`, `tasks.db`, `tasks.db.frontend`. */
function endpointsFor(name: string, network: NetworkNames): ReadonlySet<Named> {
  const direct = named(name, network);
  if (direct !== undefined) return direct;
  const suffix = `.${network.network}`;
  return (name.endsWith(suffix) ? named(name.slice(0, -suffix.length), network) : undefined) ?? nobody;
}

// An endpoint that is called `tasks.db` comes before those that are meant by it.
const named = (name: string, network: NetworkNames): ReadonlySet<Named> | undefined =>
  network.named(name) ?? (name.startsWith(tasks) ? network.named(name.slice(tasks.length)) : undefined);

function byAddress(
  address: string,
  type: number,
  networks: readonly NetworkNames[],
  isUp: (node: string) => boolean,
): Verdict {
  const names: string[] = [];
  let ours = false;
  for (const network of networks) {
    const found = network.at(address);
    if (found === null) continue;
    ours = true;
    for (const { name, owner } of found ?? nobody) if (isUp(owner)) names.push(`${name}.${network.network}`);
  }
  if (!ours) return forward;
  if (names.length === 0) return noName;
  const wanted = type === types.PTR || type === types.ANY;
  return { kind: 'answer', answers: wanted ? names.map((name) => ({ type: types.PTR, data: nameData(name) })) : [] };
}

/** The first so many of a random order (Fisher and Yates). */
function shuffled(addresses: string[], random: () => number): string[] {
  const count = Math.min(addresses.length, maxAddresses);
  for (let at = 0; at < count && addresses.length > 1; at += 1) {
    const other = at + Math.floor(random() * (addresses.length - at));
    [addresses[at], addresses[other]] = [addresses[other] ?? '', addresses[at] ?? ''];
  }
  return addresses.slice(0, count);
}

function addressRecord(address: string): Answer {
  if (address.includes(':')) return { type: types.AAAA, data: Buffer.from(ipaddr.IPv6.parse(address).toByteArray()) };
  return { type: types.A, data: Buffer.from(address.split('.').map(Number)) };
}

/**
 * The address that a name for reverse lookups means (RFC 1035, section 3.5; RFC 3596, section 2.5), in the one spelling that
 * the tables have; null for none, or for a part of one.
 */
export function addressOf(name: string): string | null {
  const labels = name.split('.');
  if (name.endsWith('.in-addr.arpa')) {
    const text = labels.slice(0, -2).reverse().join('.');
    return isIP(text) === 4 ? text : null;
  }
  if (!name.endsWith('.ip6.arpa') || labels.length !== 34) return null;
  const digits = labels.slice(0, -2).reverse();
  if (!digits.every((digit) => /^[0-9a-f]$/.test(digit))) return null;
  return ipaddr.IPv6.parse((digits.join('').match(/.{4}/g) ?? []).join(':')).toString();
}

/** Names of an endpoint, in lower case. */
export const namesOf = ({ name, aliases }: Named): string[] => [
  ...new Set([name, ...aliases].map((each) => each.toLowerCase())),
];
