import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { addressesOf } from '../../controlplane/tables/kinds.ts';
import type { VirtualAddress } from '../../controlplane/tables/services.ts';
import { byNumber, type PortOf } from './services.ts';
import { type Answer, classes, type Glue, nameData, type Question, srvData, types } from './wire.ts';

// Who gets which answer. Pure: a question, the networks that the asker is on and what is known of them -> an answer.

/** An endpoint as far as names are concerned. */
export interface Named {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly ip?: string | undefined;
  readonly ip6?: string | undefined;
  /** What it serves, `80/tcp`. */
  readonly ports?: readonly string[] | undefined;
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
  /** The address of the service of that name, where it has one of its own: that is what the name leads to, whoever is there. */
  virtual(name: string): VirtualAddress | undefined;
  /** Name of the service that has that address. */
  virtualAt(address: string): string | undefined;
}

/**
 * `forward`: not ours to say. `noName`: it is, and there is nothing; for a PTR name also that nobody has the address.
 * `answer`: there is such a name; without records, none of the type that was asked for.
 */
export type Verdict =
  | { readonly kind: 'forward' }
  | { readonly kind: 'noName' }
  | { readonly kind: 'answer'; readonly answers: readonly Answer[]; readonly additional?: readonly Glue[] };

// What fits into an answer over UDP to those who take much, and more than anybody tries.
const maxAnswers = 250;
const tasks = 'tasks.';

const forward: Verdict = { kind: 'forward' };
const noName: Verdict = { kind: 'noName' };

/**
 * @param isUp whether a node is there; endpoints of others are left out
 * @param random uniform in [0, 1): the order of addresses
 * @param portOf what a service is called
 */
export function decide(
  { name, type, class: of }: Question,
  networks: readonly NetworkNames[],
  isUp: (node: string) => boolean,
  random: () => number,
  portOf: PortOf = byNumber,
): Verdict {
  if (of !== classes.IN || networks.length === 0) return forward;
  const service = name.startsWith('_') ? serviceName.exec(name) : null;
  if (service !== null) return byService(service, type, networks, isUp, random, portOf);
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
  const found = find(name, networks, isUp, true);
  if (found === null) return forward;
  // As if they were not there, and all the same not to be asked elsewhere.
  if (found.size === 0) return noName;
  const addresses: string[] = [];
  for (const { ip, ip6 } of found.keys()) {
    if (ip !== undefined && (type === types.A || type === types.ANY)) addresses.push(ip);
    if (ip6 !== undefined && (type === types.AAAA || type === types.ANY)) addresses.push(ip6);
  }
  return { kind: 'answer', answers: shuffled(addresses, random).map(addressRecord) };
}

/** Endpoints that the name leads to, and the network of each; null where there is no such name, as far as we know. */
function find(name: string, networks: readonly NetworkNames[], isUp: (node: string) => boolean): Found<Named> | null;
/** The same, with the address of a service in place of its endpoints. */
function find(
  name: string,
  networks: readonly NetworkNames[],
  isUp: (node: string) => boolean,
  orVirtual: true,
): Found<Named | VirtualAddress> | null;
function find(
  name: string,
  networks: readonly NetworkNames[],
  isUp: (node: string) => boolean,
  orVirtual = false,
): Found<Named | VirtualAddress> | null {
  let ours = false;
  const found = new Map<Named | VirtualAddress, string>();
  for (const network of networks) {
    const virtual = virtualFor(name, network);
    if (virtual !== undefined && orVirtual) {
      ours = true;
      found.set(virtual, network.network);
      continue;
    }
    // There is such a name also while it has no endpoint.
    ours ||=
      (virtual ?? (name.startsWith(tasks) ? virtualFor(name.slice(tasks.length), network) : undefined)) !== undefined;
    for (const endpoint of endpointsFor(name, network)) {
      ours = true;
      if (endpoint.ready !== false && isUp(endpoint.owner)) found.set(endpoint, network.network);
    }
  }
  return ours ? found : null;
}

/** What a name leads to, and the network of each. */
type Found<T> = ReadonlyMap<T, string>;

// `_http._tcp.db`, or `_tcp.db`, which is there if one of the first kind is (RFC 8020).
const serviceName = /^(?:_([^.]+)\.)?_(tcp|udp|sctp)\.(.+)$/;

/** SRV (RFC 2782): where the service is to be had under that name, all alike, and their addresses. */
function byService(
  [, service, protocol = '', name = '']: RegExpExecArray,
  type: number,
  networks: readonly NetworkNames[],
  isUp: (node: string) => boolean,
  random: () => number,
  portOf: PortOf,
): Verdict {
  const found = find(name, networks, isUp);
  if (found === null) return forward;
  const port = service === undefined ? null : portOf(service, protocol);
  // Some have the same name on different hosts: one record, that leads to both.
  const targets = new Map<string, Named[]>();
  for (const [endpoint, network] of found) {
    const { ports = [] } = endpoint;
    const serves =
      service === undefined
        ? ports.some((each) => each.endsWith(`/${protocol}`))
        : ports.includes(`${port}/${protocol}`);
    if (!serves) continue;
    const target = `${endpoint.name}.${network}`;
    targets.set(target, [...(targets.get(target) ?? []), endpoint]);
  }
  if (targets.size === 0) return noName;
  if (port === null || (type !== types.SRV && type !== types.ANY)) return { kind: 'answer', answers: [] };
  const told = shuffled([...targets.keys()], random);
  return {
    kind: 'answer',
    answers: told.map((target) => ({ type: types.SRV, data: srvData(port, target) })),
    additional: told.map((target) => ({
      name: target,
      records: (targets.get(target) ?? []).flatMap(addressesOf).map(addressRecord),
    })),
  };
}

const nobody: ReadonlySet<Named> = new Set();

/** Of `db` on network frontend: `db`, `db.frontend`, `tasks.db`, `tasks.db.frontend`. */
function endpointsFor(name: string, network: NetworkNames): ReadonlySet<Named> {
  const direct = named(name, network);
  if (direct !== undefined) return direct;
  const suffix = `.${network.network}`;
  return (name.endsWith(suffix) ? named(name.slice(0, -suffix.length), network) : undefined) ?? nobody;
}

/** Of `db` on network frontend: `db`, `db.frontend`; `tasks.db` means the endpoints. */
function virtualFor(name: string, network: NetworkNames): VirtualAddress | undefined {
  const suffix = `.${network.network}`;
  const direct = network.virtual(name);
  if (direct !== undefined || !name.endsWith(suffix) || named(name, network) !== undefined) return direct;
  return network.virtual(name.slice(0, -suffix.length));
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
    const service = network.virtualAt(address);
    if (service !== undefined) names.push(`${service}.${network.network}`);
    else for (const { name, owner } of found ?? nobody) if (isUp(owner)) names.push(`${name}.${network.network}`);
  }
  if (!ours) return forward;
  if (names.length === 0) return noName;
  const wanted = type === types.PTR || type === types.ANY;
  return { kind: 'answer', answers: wanted ? names.map((name) => ({ type: types.PTR, data: nameData(name) })) : [] };
}

/** The first so many of a random order (Fisher and Yates). */
function shuffled(texts: string[], random: () => number): string[] {
  const count = Math.min(texts.length, maxAnswers);
  for (let at = 0; at < count && texts.length > 1; at += 1) {
    const other = at + Math.floor(random() * (texts.length - at));
    [texts[at], texts[other]] = [texts[other] ?? '', texts[at] ?? ''];
  }
  return texts.slice(0, count);
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
