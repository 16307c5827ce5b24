import type { Backend, Gate, GatePort } from '../desired.ts';
import { addressNumber, isIpv6, type NetnsPath } from '../values.ts';
import { type Chain, type DesiredTable, meshTable, tableOf } from './tables.ts';
import { counterOf, countersOf, numberOf, slotsOf, turnName } from './turns.ts';

/** Of each number of slots, by port. */
const COUNTERS = 16;
/** Clients that are remembered at most; more are spread like those that come for the first time. 64 bytes each. */
const STICKY_MAX = 65_536;

// The mark of a connection at the gate: which counter, how long the client is remembered, and whether its address is hidden.
const COUNTER_MASK = 0xffff;
const AFFINITY_SHIFT = 16;
const AFFINITY_MASK = 0x00ff0000;
const SNAT = 0x80000000;
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
 * A client that is to be remembered is, by the backend's number in `ids`; where that is no backend any more, it is spread anew.
 * What comes from backends and is no answer goes nowhere: a gate is no router of theirs.
 */
export function meshFor(gate: Gate, where: NetnsPath): DesiredTable {
  const { legIfName, ports } = gate;
  const known = rendered.get(ports);
  if (known?.legIfName === legIfName && known.made.table.where === where) return known.made;
  const made = render(gate, where);
  rendered.set(ports, { legIfName, made });
  return made;
}

// Plans hand over the same ports for as long as they are the same, and a difference is taken with every endpoint.
const rendered = new WeakMap<Gate['ports'], { readonly legIfName: string; readonly made: DesiredTable }>();

function render({ legIfName, ports }: Gate, where: NetnsPath): DesiredTable {
  const durations = [...new Set(ports.map(({ affinityMs }) => affinityMs))].filter((ms) => ms > 0);
  const affinities = durations.sort((a, b) => a - b).slice(0, AFFINITIES_MAX);
  const elements = {
    ports: new Set<string>(),
    backends: new Set<string>(),
    ids: new Set<string>(),
  };
  for (const port of ports) {
    const { service, backends, counter, texts } = servedBy(port);
    if (backends.length === 0) continue;
    const affinity = affinities.indexOf(port.affinityMs) + 1;
    const snat = port.source === 'snat' ? SNAT : 0;
    elements.ports.add(`${service} : ${counter + affinity * 2 ** AFFINITY_SHIFT + snat}`);
    for (const text of texts) elements.backends.add(text);
    if (affinity === 0) continue;
    for (const { ip, port: target } of oneOfEachIp(backends)) {
      elements.backends.add(`${service} ${addressNumber(ip)} : ${ip} ${target}`);
      elements.ids.add(`${ip} : ${addressNumber(ip)}`);
    }
  }
  return tableOf(meshTable(where), chainsOf(legIfName, affinities), new Map(Object.entries(elements)), STICKY);
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

// Of 1,000 ports a plan keeps all but the one that changes.
const served = new WeakMap<GatePort, Served>();

function servedBy(port: GatePort): Served {
  const known = served.get(port);
  if (known) return known;
  const service = `${port.protocol} ${port.port}`;
  const backends = backendsOf(port);
  const texts = slotsOf(backends).map((each, slot) => `${service} ${slot} : ${each.ip} ${each.port}`);
  const made = { service, backends, texts, counter: counterOf(texts.length, COUNTERS, numberOf(service, COUNTERS)) };
  served.set(port, made);
  return made;
}

/** In an order that depends on nothing but them: which one has which slot is the same on every node, and after a restart. */
function backendsOf({ backends }: GatePort): Backend[] {
  const byText = new Map(backends.map((backend) => [`${backend.ip} ${backend.port}`, backend]));
  const ipv4 = [...byText].filter(([, { ip }]) => !isIpv6(ip));
  return ipv4.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, backend]) => backend);
}

function oneOfEachIp(backends: readonly Backend[]): Iterable<Backend> {
  return new Map(backends.map((backend) => [backend.ip, backend])).values();
}

const STICKY = `  map sticky {
    type ipv4_addr . inet_proto . inet_service : mark
    size ${STICKY_MAX}
    flags dynamic,timeout
  }
`;

const hex = (mark: number): string => `0x${mark.toString(16)}`;

function chainsOf(legIfName: string, affinities: readonly number[]): Chain[] {
  const counters = countersOf(COUNTERS);
  const lead = 'dnat ip to meta l4proto . th dport . meta mark map @backends';
  const verdicts = counters.map(({ counter }) => `${hex(counter)} : goto ${turnName(counter)}`);
  const sticky = affinities.length > 0;
  // In the order in which one leads to the next; nft wants to know where a rule leads before it.
  return [
    // Once more with the first slot: a packet may be looked up half before and half after a change of the maps.
    { name: 'lead', rules: [lead, 'meta mark set 0', lead] },
    ...counters.map(({ slots, counter }) => ({
      name: turnName(counter),
      rules: [`meta mark set numgen inc mod ${slots} goto lead`],
    })),
    ...(sticky
      ? [
          {
            name: 'again',
            rules: [
              `meta mark set ip saddr . meta l4proto . th dport map @sticky ${lead}`,
              // What is to be remembered anew must be forgotten before: an update leaves the value as it is.
              'delete @sticky { ip saddr . meta l4proto . th dport : meta mark }',
            ],
          },
        ]
      : []),
    {
      ...{ name: 'prerouting', type: 'nat', hook: 'prerouting', priority: 'dstnat' },
      rules: [
        `iifname "${legIfName}" return`,
        'fib daddr type != local return',
        'meta nfproto != ipv4 return',
        'meta mark set 0',
        'meta mark set meta l4proto . th dport map @ports',
        'meta mark 0 return',
        'ct mark set meta mark',
        ...(sticky ? [`meta mark & ${hex(AFFINITY_MASK)} != 0 jump again`, 'meta mark set ct mark'] : []),
        `meta mark & ${hex(COUNTER_MASK)} vmap { ${verdicts.join(', ')} }`,
      ],
    },
    ...affinities.map((ms, index) => ({
      name: `remember${index + 1}`,
      // A rule for each protocol, since nft reads the port of a tracked connection only where it knows that.
      rules: [
        'meta mark set ip daddr map @ids',
        ...['tcp', 'udp', 'sctp'].map(
          (protocol) =>
            `meta l4proto ${protocol} update @sticky ` +
            `{ ip saddr . meta l4proto . ct original proto-dst timeout ${ms}ms : meta mark }`,
        ),
      ],
    })),
    {
      ...{ name: 'postrouting', type: 'nat', hook: 'postrouting', priority: 'srcnat' },
      rules: [
        `oifname != "${legIfName}" return`,
        ...affinities.map((_, index) => {
          const mark = (index + 1) * 2 ** AFFINITY_SHIFT;
          return `ct mark & ${hex(AFFINITY_MASK)} == ${hex(mark)} jump remember${index + 1}`;
        }),
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
