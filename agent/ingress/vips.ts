import type { NetworkId } from '../../controlplane/ids.ts';
import { isOf, type Service } from '../../controlplane/tables/services.ts';
import type { Endpoint } from '../../controlplane/tables/view.ts';
import type { Vip } from '../../dataplane/desired.ts';
import { type Ip, type Parsed, parseIp } from '../../dataplane/values.ts';
import type { MeshTables } from './mesh.ts';
import { preferred, undoubted } from './prefer.ts';

// Where the virtual addresses of services lead, from the tables. Pure.

/** What the tables say, as far as virtual addresses are concerned. */
export type VipTables = Omit<MeshTables, 'networks'>;

export const noVips: readonly Vip[] = [];

/**
 * The virtual addresses on a network, and who takes connections to them; in an order that is the same on all nodes.
 * @param before what it was; of that, what is still so is the same object, and so is all of it
 */
export function vipsOn(tables: VipTables, network: NetworkId, before: readonly Vip[] = noVips): readonly Vip[] {
  const services = [...tables.services.values()].filter((each) => each.network === network && each.vip !== undefined);
  if (services.length === 0) return noVips;
  const known = new Map(before.map((vip) => [vip.ip, vip]));
  const taking = takersOf(services, tables, tables.endpoints.get(network)?.values() ?? []);
  const vips = services
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .flatMap((service) => {
      const endpoints = preferred(service.prefer, undoubted(taking.get(nameOf(service)) ?? [], tables.doubted), tables);
      const { ip, ip6 } = service.vip ?? {};
      return [
        ...valid(parseIp(ip ?? '')).map((own) =>
          vipOf(
            own,
            endpoints.map((each) => each.ip),
          ),
        ),
        ...valid(parseIp(ip6 ?? '')).map((own) =>
          vipOf(
            own,
            endpoints.map((each) => each.ip6),
          ),
        ),
      ];
    })
    .map((vip) => {
      const same = known.get(vip.ip);
      return same !== undefined && areSame(same.backends, vip.backends) ? same : vip;
    });
  return areSame(vips, before) ? before : vips;
}

/** Those of a sandbox that is on all of these networks: of two that are the same, the first one counts. The same of the same. */
export function joinedVips(lists: Iterable<readonly Vip[]>): readonly Vip[] {
  let all = noVips;
  for (const list of lists) if (list.length > 0) all = all.length === 0 ? list : joined(all, list);
  return all;
}

// Sandboxes on the same networks have the same addresses, and what the data plane has made of them.
const joins = new WeakMap<readonly Vip[], WeakMap<readonly Vip[], readonly Vip[]>>();

function joined(first: readonly Vip[], second: readonly Vip[]): readonly Vip[] {
  const ofFirst = joins.get(first) ?? new WeakMap<readonly Vip[], readonly Vip[]>();
  joins.set(first, ofFirst);
  const known = ofFirst.get(second);
  if (known !== undefined) return known;
  const taken = new Set(first.map(({ ip }) => ip));
  const all = [...first, ...second.filter(({ ip }) => !taken.has(ip))];
  ofFirst.set(second, all);
  return all;
}

const nameOf = ({ name }: Pick<Service, 'name'>): string => name.toLowerCase();

/** Endpoints that take connections, by the name of their service; in one go, there may be 10,000. */
function takersOf(
  services: readonly Service[],
  { isUp }: VipTables,
  endpoints: Iterable<Endpoint>,
): ReadonlyMap<string, readonly Endpoint[]> {
  const byName = new Map(services.map((service) => [nameOf(service), { service, taking: [] as Endpoint[] }]));
  for (const endpoint of endpoints) {
    if (endpoint.ready === false || !isUp(endpoint.owner)) continue;
    const names = new Set([endpoint.name, ...endpoint.aliases].map((each) => each.toLowerCase()));
    for (const each of names) {
      const found = byName.get(each);
      if (found !== undefined && isOf(found.service, endpoint)) found.taking.push(endpoint);
    }
  }
  return new Map([...byName].map(([name, { taking }]) => [name, taking]));
}

function vipOf(ip: Ip, addresses: readonly (string | null | undefined)[]): Vip {
  const six = ip.includes(':');
  const backends = addresses.flatMap((each) => valid(parseIp(each ?? ''))).filter((each) => each.includes(':') === six);
  return { ip, backends: [...new Set(backends)].sort() };
}

/** What makes no sense is left out; plan.ts says so of endpoints. */
const valid = <T>(parsed: Parsed<T>): T[] => (parsed.ok ? [parsed.value] : []);

const areSame = <T>(some: readonly T[], others: readonly T[]): boolean =>
  some.length === others.length && some.every((each, at) => each === others[at]);
