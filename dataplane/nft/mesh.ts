import { createHash } from 'node:crypto';
import { type Backend, type Gate, type GatePort, PROTOCOLS } from '../desired.ts';
import { addressNumber, type Ip, isIpv6, type NetnsPath } from '../values.ts';
import { type Chain, type DesiredTable, meshTable, tableOf } from './tables.ts';
import { counterOf, countersOf, numberOf, slotsOf, turnName } from './turns.ts';

/** Of each number of slots, by port. */
const COUNTERS = 16;
/** Of port and backend; connections to more are not counted. */
const TOTALS_MAX = 65_536;
/** After so long without a connection the count begins anew. */
const TOTALS_KEPT = '30d';
/** Clients that are remembered at most; more are spread like those that come for the first time. 64 bytes each. */
const STICKY_MAX = 65_536;

// The mark of a connection at the gate: which counter, how long the client is remembered, and whether its address is hidden.
const COUNTER_MASK = 0xffff;
const AFFINITY_SHIFT = 16;
const AFFINITY_MASK = 0x00ff0000;
const SNAT = 0x80000000;
/** Above all slots. */
const ID_OF_IPV6 = 0x80000000;
/** Durations that a gate can tell apart; services with others forget at once. */
const AFFINITIES_MAX = 255;

/**
 * The table of a gate. A packet that begins a connection to a published port is led to a backend by three maps: `ports` says
 * how many slots the port has, a counter says whose turn it is, and `backends` which address and port that is. All packets
 * behind it are led by connection tracking, whatever has become of the maps. A port without backends is in no map, and what
 * comes to it is refused by a rule: were it left to the kernel, connection tracking would keep a client that goes on asking
 * by datagrams from those who serve it later.
 *
 * The client's address stays as it is, so answers have to come back here (returns.ts). With `snat` they do by themselves.
 *
 * A gate whose leg has an IPv6 address has the maps once more for that family; others have none of it.
 *
 * A client that is to be remembered is, by the backend's number in `ids`; where that is no backend any more, it is spread anew.
 * What comes from backends and is no answer goes nowhere: a gate is no router of theirs.
 */
export function meshFor(gate: Gate, where: NetnsPath, ipv6 = false): DesiredTable {
  const { legIfName, ports } = gate;
  const known = rendered.get(ports);
  if (known?.legIfName === legIfName && known.ipv6 === ipv6 && known.made.table.where === where) return known.made;
  const made = render(gate, where, ipv6);
  rendered.set(ports, { legIfName, ipv6, made });
  return made;
}

// Plans hand over the same ports for as long as they are the same, and a difference is taken with every endpoint.
interface Rendered {
  readonly legIfName: string;
  readonly ipv6: boolean;
  readonly made: DesiredTable;
}
const rendered = new WeakMap<Gate['ports'], Rendered>();

function render({ legIfName, ports }: Gate, where: NetnsPath, ipv6: boolean): DesiredTable {
  const durations = [...new Set(ports.map(({ affinityMs }) => affinityMs))].filter((ms) => ms > 0);
  const affinities = durations.sort((a, b) => a - b).slice(0, AFFINITIES_MAX);
  const elements = new Map<string, Set<string>>();
  for (const family of ipv6 ? FAMILIES : FAMILIES.slice(0, 1)) {
    const of = (set: string): Set<string> => {
      const made = new Set<string>();
      elements.set(`${set}${family.suffix}`, made);
      return made;
    };
    const [services, slots, ids] = [of('ports'), of('backends'), of('ids')];
    for (const port of ports) {
      const { service, backends, counter, texts } = family.served(port);
      if (backends.length === 0) continue;
      const affinity = affinities.indexOf(port.affinityMs) + 1;
      const snat = port.source === 'snat' ? SNAT : 0;
      services.add(`${service} : ${counter + affinity * 2 ** AFFINITY_SHIFT + snat}`);
      for (const text of texts) slots.add(text);
      if (affinity === 0) continue;
      for (const [id, { ip, port: target }] of oneOfEachId(backends)) {
        slots.add(`${service} ${id} : ${ip} ${target}`);
        ids.add(`${ip} : ${id}`);
      }
    }
  }
  const kept = STICKY + TOTALS + (ipv6 ? STICKY6 + TOTALS6 : '');
  return tableOf(meshTable(where), chainsOf(legIfName, affinities, ipv6), elements, kept);
}

/** What of a port depends on nothing else. */
interface Served {
  /** `tcp 8080` */
  readonly service: string;
  readonly backends: readonly Backend[];
  readonly counter: number;
  /** Of `backends`, one for each slot. */
  readonly texts: readonly string[];
}

/** What of a port is of one family. Of 1,000 ports a plan keeps all but the one that changes. */
function servedIn(isOfFamily: (ip: Ip) => boolean): (port: GatePort) => Served {
  const served = new WeakMap<GatePort, Served>();
  return (port) => {
    const known = served.get(port);
    if (known) return known;
    const service = `${port.protocol} ${port.port}`;
    const backends = backendsOf(port, isOfFamily);
    const texts = slotsOf(backends).map((each, slot) => `${service} ${slot} : ${each.ip} ${each.port}`);
    const made = { service, backends, texts, counter: counterOf(texts.length, COUNTERS, numberOf(service, COUNTERS)) };
    served.set(port, made);
    return made;
  };
}

const FAMILIES = [
  { suffix: '', served: servedIn((ip) => !isIpv6(ip)) },
  { suffix: '6', served: servedIn(isIpv6) },
] as const;

/** In an order that depends on nothing but them: which one has which slot is the same on every node, and after a restart. */
function backendsOf({ backends }: GatePort, isOfFamily: (ip: Ip) => boolean): Backend[] {
  const byText = new Map(backends.map((backend) => [`${backend.ip} ${backend.port}`, backend]));
  const ofFamily = [...byText].filter(([, { ip }]) => isOfFamily(ip));
  return ofFamily.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, backend]) => backend);
}

/** By what clients remember; of two backends with the same the last. Of one address, whichever its ports, one is enough. */
const oneOfEachId = (backends: readonly Backend[]): ReadonlyMap<number, Backend> =>
  new Map(backends.map((backend) => [idOf(backend.ip), backend]));

/** Never the number of a slot: an IPv4 address is itself, of an IPv6 address it is a part of its digest. */
function idOf(ip: Ip): number {
  if (!isIpv6(ip)) return addressNumber(ip);
  return (createHash('sha256').update(ip).digest().readUInt32BE() | ID_OF_IPV6) >>> 0;
}

const STICKY = `  map sticky {
    type ipv4_addr . inet_proto . inet_service : mark
    size ${STICKY_MAX}
    flags dynamic,timeout
  }
`;

/**
 * A client of IPv6, in eight bytes: of its address those that tell networks of a site apart, and the last four. nft 1.0.6 has room for
 * no more in the key of a map that rules write to, and clients that look the same are led to the same backend, no more.
 */
const CLIENT6 = '@nh,96,32 . @nh,160,32';
const STICKY6 = `  map sticky6 {
    typeof ${CLIENT6} . meta l4proto . th dport : meta mark
    size ${STICKY_MAX}
    flags dynamic,timeout
  }
`;

const TOTALS = `  set totals {
    type inet_proto . inet_service . ipv4_addr
    size ${TOTALS_MAX}
    flags dynamic,timeout
    timeout ${TOTALS_KEPT}
  }
`;

const TOTALS6 = TOTALS.replace('set totals', 'set totals6').replace('ipv4_addr', 'ipv6_addr');

const hex = (mark: number): string => `0x${mark.toString(16)}`;

function chainsOf(legIfName: string, affinities: readonly number[], ipv6: boolean): Chain[] {
  const counters = countersOf(COUNTERS);
  const leadBy = (family: 'ip' | 'ip6', map: string): string =>
    `dnat ${family} to meta l4proto . th dport . meta mark map @${map}`;
  // Once more with the first slot: a packet may be looked up half before and half after a change of the maps.
  const leading = (lead: string): string[] => [lead, 'meta mark set 0', lead];
  const [lead, lead6] = [leadBy('ip', 'backends'), leadBy('ip6', 'backends6')];
  const verdicts = counters.map(({ counter }) => `${hex(counter)} : goto ${turnName(counter)}`);
  const sticky = affinities.length > 0;
  /** Of a packet that came to the gate. */
  const taken = (suffix: '' | '6'): string[] => [
    'meta mark set 0',
    `meta mark set meta l4proto . th dport map @ports${suffix}`,
    'meta mark 0 return',
    'ct mark set meta mark',
    ...(sticky ? [`meta mark & ${hex(AFFINITY_MASK)} != 0 jump again${suffix}`, 'meta mark set ct mark'] : []),
    `meta mark & ${hex(COUNTER_MASK)} vmap { ${verdicts.join(', ')} }`,
  ];
  // In the order in which one leads to the next; nft wants to know where a rule leads before it.
  return [
    ...(ipv6 ? [{ name: 'lead6', rules: leading(lead6) }] : []),
    { name: 'lead', rules: [...(ipv6 ? ['meta nfproto ipv6 goto lead6'] : []), ...leading(lead)] },
    ...counters.map(({ slots, counter }) => ({
      name: turnName(counter),
      rules: [`meta mark set numgen inc mod ${slots} goto lead`],
    })),
    ...(sticky ? [again('', 'ip saddr', lead)] : []),
    ...(sticky && ipv6 ? [again('6', CLIENT6, lead6)] : []),
    ...(ipv6 ? [{ name: 'six', rules: taken('6') }] : []),
    {
      ...{ name: 'prerouting', type: 'nat', hook: 'prerouting', priority: 'dstnat' },
      rules: [
        `iifname "${legIfName}" return`,
        'fib daddr type != local return',
        ipv6 ? 'meta nfproto ipv6 goto six' : 'meta nfproto != ipv4 return',
        ...taken(''),
      ],
    },
    ...affinities.map((ms, index) => ({
      name: `remember${index + 1}`,
      rules: [...remember('', 'ip', 'ip saddr', ms), ...(ipv6 ? remember('6', 'ip6', CLIENT6, ms) : [])],
    })),
    { name: 'count', rules: [...count('', 'ip'), ...(ipv6 ? count('6', 'ip6') : [])] },
    {
      ...{ name: 'postrouting', type: 'nat', hook: 'postrouting', priority: 'srcnat' },
      rules: [
        `oifname != "${legIfName}" return`,
        ...affinities.map((_, index) => {
          const mark = (index + 1) * 2 ** AFFINITY_SHIFT;
          return `ct mark & ${hex(AFFINITY_MASK)} == ${hex(mark)} jump remember${index + 1}`;
        }),
        'jump count',
        `ct mark & ${hex(SNAT)} != 0 masquerade`,
      ],
    },
    {
      ...{ name: 'input', type: 'filter', hook: 'input', priority: 'filter' },
      rules: [
        'ct state != new return',
        `iifname { "lo", "${legIfName}" } return`,
        'meta l4proto tcp reject with tcp reset',
        'meta l4proto { 17, 132 } reject',
      ],
    },
    {
      ...{ name: 'forward', type: 'filter', hook: 'forward', priority: 'filter' },
      rules: [
        `iifname "${legIfName}" ct state established,related accept`,
        `iifname "${legIfName}" drop`,
        `oifname "${legIfName}" ct status dnat accept`,
        `oifname "${legIfName}" drop`,
      ],
    },
  ];
}

/** Leads a client that is remembered to the backend of before. */
const again = (suffix: '' | '6', client: string, lead: string): Chain => ({
  name: `again${suffix}`,
  rules: [
    `meta mark set ${client} . meta l4proto . th dport map @sticky${suffix} ${lead}`,
    // What is to be remembered anew must be forgotten before: an update leaves the value as it is.
    `delete @sticky${suffix} { ${client} . meta l4proto . th dport : meta mark }`,
  ],
});

/** Connections, by what was asked for and who answers: of each the first packet comes here alone. */
const count = (suffix: '' | '6', family: 'ip' | 'ip6'): string[] =>
  PROTOCOLS.map(
    (protocol) =>
      `meta l4proto ${protocol} update @totals${suffix} ` +
      `{ meta l4proto . ct original proto-dst . ${family} daddr counter } return`,
  );

/** A rule for each protocol, since nft reads the port of a tracked connection only where it knows that. */
const remember = (suffix: '' | '6', family: 'ip' | 'ip6', client: string, ms: number): string[] => [
  `meta mark set ${family} daddr map @ids${suffix}`,
  ...['tcp', 'udp', 'sctp'].map(
    (protocol) =>
      `meta nfproto ${family === 'ip' ? 'ipv4' : 'ipv6'} meta l4proto ${protocol} update @sticky${suffix} ` +
      `{ ${client} . meta l4proto . ct original proto-dst timeout ${ms}ms : meta mark }`,
  ),
];
