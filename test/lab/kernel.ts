import type { Host } from './host.ts';

/** One link, with what a person configured and without counters, indexes and clocks. */
export interface LinkDump {
  readonly name: string;
  readonly kind: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly mac: string;
  readonly master: string;
  readonly info: Readonly<Record<string, unknown>>;
  readonly port: Readonly<Record<string, unknown>>;
}

/** What one network namespace holds. Lists are sorted, so that two dumps compare by value. */
export interface NetnsDump {
  readonly links: readonly LinkDump[];
  /** `DEVICE ADDRESS/LENGTH` */
  readonly addresses: readonly string[];
  /** `DESTINATION [via GATEWAY] dev DEVICE` of the main tables. */
  readonly routes: readonly string[];
  /** `DEVICE MAC dst VTEP`; what was learned, and the ports' own addresses, are left out. */
  readonly fdb: readonly string[];
  /** `DEVICE IP lladdr MAC`; permanent ones only. */
  readonly neighbours: readonly string[];
}

/** Everything in a host's kernel that an agent can have made. */
export interface KernelDump {
  /** The netns of the overlays; null before there is one. */
  readonly weft: NetnsDump | null;
  readonly host: NetnsDump;
  /** By name in /run/netns. */
  readonly sandboxes: Readonly<Record<string, NetnsDump>>;
  /** nftables of the host's netns, without handles and counters. */
  readonly nft: readonly string[];
}

type Json = Readonly<Record<string, unknown>>;

/** Reads a host's kernel into a comparable value. */
export async function dumpKernel(host: Host): Promise<KernelDump> {
  for (let tries = 0; ; tries++) {
    const names = await namespacesOf(host);
    try {
      return await dumpNamespaces(host, names);
    } catch (error) {
      // A namespace that went while it was read is no error, but then what was read is of no one moment.
      if (tries === 5 || (await namespacesOf(host)).join() === names.join()) throw error;
    }
  }
}

async function namespacesOf(host: Host): Promise<string[]> {
  return (await host.exec('ls', ['-1', '/run/netns'])).stdout.split('\n').filter(Boolean).sort();
}

async function dumpNamespaces(host: Host, names: readonly string[]): Promise<KernelDump> {
  const inside = await Promise.all(names.map(async (name) => [name, await dumpNetns(host, name)] as const));
  const sandboxes = Object.fromEntries(inside.filter(([name]) => name !== 'weft'));
  const nft = await host.exec('nft', ['-j', 'list', 'ruleset']);
  return {
    weft: inside.find(([name]) => name === 'weft')?.[1] ?? null,
    host: await dumpNetns(host, null),
    sandboxes,
    nft: normalNft(JSON.parse(nft.stdout || '{}') as Json),
  };
}

async function dumpNetns(host: Host, name: string | null): Promise<NetnsDump> {
  const at = name === null ? [] : ['-n', name];
  const read = async (command: string, ...args: string[]): Promise<Json[]> => {
    const { stdout } = await host.exec(command, [...at, '-j', ...args]);
    return stdout.trim() === '' ? [] : (JSON.parse(stdout) as Json[]);
  };
  const [links, addresses, routes4, routes6, neighbours, fdb] = await Promise.all([
    read('ip', '-d', 'link', 'show'),
    read('ip', 'address', 'show'),
    read('ip', '-4', 'route', 'show'),
    read('ip', '-6', 'route', 'show'),
    read('ip', 'neigh', 'show', 'nud', 'permanent'),
    read('bridge', 'fdb', 'show'),
  ]);
  return normalNetns({ links, addresses, routes: [...routes4, ...routes6], neighbours, fdb });
}

/** What `ip -j` and `bridge -j` print for one namespace. */
export interface RawNetns {
  readonly links: readonly Json[];
  readonly addresses: readonly Json[];
  readonly routes: readonly Json[];
  readonly neighbours: readonly Json[];
  readonly fdb: readonly Json[];
}

// Of a link's details only what someone chose; the rest is counters, timers, ids from MACs, and kernel defaults
// that differ from version to version.
const INFO: Readonly<Record<string, readonly string[]>> = {
  bridge: ['stp_state', 'vlan_filtering', 'mcast_snooping', 'ageing_time', 'group_fwd_mask'],
  vxlan: ['id', 'local', 'remote', 'group', 'port', 'learning', 'proxy', 'l2miss', 'l3miss', 'ttl', 'udp_csum'],
};
const PORT = ['isolated', 'learning', 'flood', 'mcast_flood', 'neigh_suppress', 'hairpin', 'guard'];

/** Sorts one namespace's state and takes out of it what differs from run to run. */
export function normalNetns(raw: RawNetns): NetnsDump {
  const own = new Set(raw.links.map((link) => text(link['address'])));
  return {
    links: raw.links
      .filter((link) => link['ifname'] !== 'lo')
      .map(normalLink)
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    addresses: raw.addresses
      .filter((link) => link['ifname'] !== 'lo')
      .flatMap((link) =>
        list(link['addr_info'])
          // Link-local IPv6 addresses derive from random MACs.
          .filter((address) => address['scope'] !== 'link')
          .map((address) => `${text(link['ifname'])} ${text(address['local'])}/${text(address['prefixlen'])}`),
      )
      .sort(),
    routes: raw.routes
      .filter((route) => !text(route['dst']).startsWith('fe80:') && !text(route['dst']).startsWith('ff00:'))
      .map((route) => {
        const via = route['gateway'] === undefined ? '' : ` via ${text(route['gateway'])}`;
        return `${text(route['dst'])}${via} dev ${text(route['dev'])}`;
      })
      .sort(),
    fdb: raw.fdb
      .filter((entry) => entry['dst'] !== undefined || isPermanent(entry))
      .filter((entry) => !own.has(text(entry['mac'])) && !isGroup(text(entry['mac'])))
      .map((entry) => {
        const dst = entry['dst'] === undefined ? '' : ` dst ${text(entry['dst'])}`;
        return `${text(entry['ifname'])} ${text(entry['mac'])}${dst}`;
      })
      .sort(),
    neighbours: raw.neighbours
      .map((entry) => `${text(entry['dev'])} ${text(entry['dst'])} lladdr ${text(entry['lladdr'])}`)
      .sort(),
  };
}

function normalLink(link: Json): LinkDump {
  const linkinfo = object(link['linkinfo']);
  const kind = text(linkinfo['info_kind']);
  const flags = Array.isArray(link['flags']) ? link['flags'] : [];
  // The host's end of a veth and a bridge have random addresses unless someone set one; only an endpoint's matters.
  const chosen = kind === 'vxlan' || (kind === 'veth' && link['master'] === undefined);
  return {
    name: text(link['ifname']),
    kind,
    mtu: Number(link['mtu']),
    up: flags.includes('UP'),
    mac: chosen ? text(link['address']) : '',
    master: text(link['master']),
    info: pick(object(linkinfo['info_data']), INFO[kind] ?? []),
    port: pick(object(linkinfo['info_slave_data']), PORT),
  };
}

/** nftables' JSON (libnftables-json(5)) as sorted lines, without handles, positions and counters. */
export function normalNft(ruleset: Json): string[] {
  const strip = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(strip);
    if (value === null || typeof value !== 'object') return value;
    const kept = Object.entries(value).filter(([key]) => !['handle', 'index', 'packets', 'bytes'].includes(key));
    return Object.fromEntries(kept.map(([key, inner]) => [key, strip(inner)]));
  };
  // Order counts among the rules of a chain, so rules keep theirs; that is the order in which nft lists them.
  return (
    list(ruleset['nftables'])
      .filter((item) => item['metainfo'] === undefined)
      // Goes with the agent that made it.
      .filter((item) => !JSON.stringify(item).includes('"weft_hold"'))
      .map((item) => JSON.stringify(strip(item)))
  );
}

/** Objects of two dumps that differ, as lines for a person. */
export function diffKernel(before: KernelDump, after: KernelDump): string[] {
  const a = flatten('', before);
  const b = flatten('', after);
  return [
    ...[...a].filter((line) => !b.has(line)).map((line) => `- ${line}`),
    ...[...b].filter((line) => !a.has(line)).map((line) => `+ ${line}`),
  ];
}

function flatten(path: string, value: unknown): Set<string> {
  const lines = new Set<string>();
  const walk = (at: string, node: unknown): void => {
    if (Array.isArray(node)) {
      for (const item of node) {
        const name = object(item)['name'];
        if (typeof name === 'string') walk(`${at}/${name}`, item);
        else lines.add(`${at}: ${typeof item === 'string' ? item : JSON.stringify(item)}`);
      }
    } else if (node !== null && typeof node === 'object') {
      for (const [key, inner] of Object.entries(node)) walk(`${at}/${key}`, inner);
    } else lines.add(`${at}: ${String(node)}`);
  };
  walk(path, value);
  return lines;
}

function isPermanent(entry: Json): boolean {
  return entry['state'] === 'permanent' || entry['state'] === 'static';
}

function isGroup(mac: string): boolean {
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1;
}

function text(value: unknown): string {
  return value === undefined || value === null ? '' : String(value);
}

function object(value: unknown): Json {
  return value !== null && typeof value === 'object' ? (value as Json) : {};
}

function list(value: unknown): Json[] {
  return Array.isArray(value) ? (value as Json[]) : [];
}

function pick(from: Json, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(keys.filter((key) => from[key] !== undefined).map((key) => [key, from[key]]));
}
