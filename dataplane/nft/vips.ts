import type { Vip } from '../desired.ts';
import { type Ip, isIpv6, type NetnsPath } from '../values.ts';
import { type Chain, type DesiredTable, tableOf, vipTable } from './tables.ts';
import { counterOf, countersOf, numberOf, slotsOf, turnName } from './turns.ts';

/** Of each number of slots, by virtual address. Fewer than at a gate: each sandbox has a table. */
const COUNTERS = 4;
/** Sandboxes begin at so many different places, lest the first connection of each be led to the same backend. */
const STARTS = 16;

/**
 * The table of a sandbox that may ask for virtual addresses. The packet that begins a connection to one is led to a backend by two
 * maps: `vips` says in which chain the counter is for as many slots as the address has, and `slots` who has the slot that it
 * shows. Neither needs a mark of the packet, which is the sandbox's own business. All packets behind it are led by connection
 * tracking, whatever has become of the maps.
 *
 * An address without backends is refused in the same chains: left to the kernel, connection tracking would keep who goes on asking by
 * datagrams from those who serve it later.
 *
 * @param vips the same array for as long as it says the same: what is made of it is kept
 */
export function vipsFor(vips: readonly Vip[], where: NetnsPath): DesiredTable {
  return tableOf(vipTable(where), CHAINS, elementsOf(vips, numberOf(where, STARTS)));
}

type Elements = ReadonlyMap<string, ReadonlySet<string>>;

// Of 1,000 sandboxes on one network all have the same.
const rendered = new WeakMap<readonly Vip[], Map<number, Elements>>();

function elementsOf(vips: readonly Vip[], start: number): Elements {
  const known = rendered.get(vips) ?? new Map<number, Elements>();
  rendered.set(vips, known);
  const made = known.get(start) ?? render(vips, start);
  known.set(start, made);
  return made;
}

function render(vips: readonly Vip[], start: number): Elements {
  const elements = {
    ...{ slots4: new Set<string>(), slots6: new Set<string>() },
    ...{ vips4: new Set<string>(), vips6: new Set<string>() },
  };
  for (const vip of vips) {
    const [toChain, toBackend] = isIpv6(vip.ip) ? [elements.vips6, elements.slots6] : [elements.vips4, elements.slots4];
    const { chain, slots } = ledTo(vip, start);
    toChain.add(`${vip.ip} : ${chain}`);
    for (const text of slots) toBackend.add(text);
  }
  return new Map(Object.entries(elements));
}

/** Elements of one address. */
interface Led {
  readonly chain: string;
  readonly slots: readonly string[];
}

// Of 100 addresses a plan keeps all but the one that changes.
const led = new WeakMap<Vip, Map<number, Led>>();

function ledTo(vip: Vip, start: number): Led {
  const known = led.get(vip) ?? new Map<number, Led>();
  led.set(vip, known);
  const made = known.get(start) ?? lead(vip, start);
  known.set(start, made);
  return made;
}

function lead({ ip, backends }: Vip, start: number): Led {
  const family = [...new Set(backends)].filter((each) => isIpv6(each) === isIpv6(ip)).sort();
  const first = Math.floor((family.length * start) / STARTS);
  const slots = slotsOf<Ip>([...family.slice(first), ...family.slice(0, first)]);
  const chain = slots.length === 0 ? NONE : turnName(counterOf(slots.length, COUNTERS, numberOf(ip, COUNTERS)));
  return { chain, slots: slots.map((backend, slot) => `${ip} ${slot} : ${backend}`) };
}

const NONE = 'none';

const leads = (slots: number): string[] => [
  `dnat ip to ip daddr . numgen inc mod ${slots} map @slots4`,
  `dnat ip6 to ip6 daddr . numgen inc mod ${slots} map @slots6`,
];

// In the order in which one leads to the next; nft wants to know where a rule leads before it.
const CHAINS: readonly Chain[] = [
  { name: NONE, rules: ['meta l4proto tcp reject with tcp reset', 'reject'] },
  // The first slot: a packet may be looked up half before and half after a change of the maps.
  { name: 'again', rules: [...leads(1), `goto ${NONE}`] },
  ...countersOf(COUNTERS).map(({ slots, counter }) => ({
    name: turnName(counter),
    rules: [...leads(slots), 'goto again'],
  })),
  { name: 'lead', rules: ['ip daddr vmap @vips4', 'ip6 daddr vmap @vips6'] },
  { ...{ name: 'output', type: 'nat', hook: 'output', priority: '-100' }, rules: ['jump lead'] },
  // Of what is behind the sandbox, as Docker's containers in a container.
  { ...{ name: 'prerouting', type: 'nat', hook: 'prerouting', priority: 'dstnat' }, rules: ['jump lead'] },
];
