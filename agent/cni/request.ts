import {
  type IfName,
  type Ip,
  type NetnsPath,
  parseIfName,
  parseIp,
  parseMac,
  parseNetnsPath,
} from '../../dataplane/values.ts';
import { alias, containerId, NetworkConfig, type Result } from './config.ts';
import { CniError, codes } from './failure.ts';
import { type CniVersion, isSupported, missingUntil, newest, supportedVersions } from './versions.ts';

/** Variables of CNI alone (SPEC.md, section 2). */
export type Environment = Readonly<Record<string, string | undefined>>;

const commands = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'] as const;
export type Command = (typeof commands)[number];

// Far above what any runtime gives.
const argsMaxLength = 4096;
const aliasesMax = 16;

/** What every call says. */
interface Common {
  readonly version: CniVersion;
  /** Name of the configuration. */
  readonly name: string;
  /** Weft network, by name, id or the start of an id. */
  readonly network: string;
  /** null: the default one. */
  readonly socket: string | null;
}

/** One container's interface on one network. */
export interface Attachment {
  readonly containerId: string;
  readonly ifName: IfName;
}

/** What ADD is asked for beside. */
export interface Wanted {
  readonly ip: Ip | null;
  readonly ip6: Ip | null;
  readonly mac: string | null;
  readonly aliases: readonly string[];
  /** Name that the runtime has given to container or pod; null for none. */
  readonly container: string | null;
  /** As `weft sandbox create --publish` has them. */
  readonly publish: readonly string[];
  readonly dns: {
    readonly servers: readonly string[];
    readonly search: readonly string[];
    readonly options: readonly string[];
  };
}

export type Call =
  | { readonly command: 'VERSION'; readonly version: string }
  | (Common & Attachment & { readonly command: 'ADD'; readonly netns: NetnsPath; readonly wanted: Wanted })
  | (Common & Attachment & { readonly command: 'DEL' })
  | (Common & Attachment & { readonly command: 'CHECK'; readonly netns: NetnsPath; readonly previous: Result })
  | (Common & {
      readonly command: 'GC';
      readonly valid: readonly { readonly containerID: string; readonly ifname: string }[];
    })
  | (Common & { readonly command: 'STATUS' });

/** @throws CniError when CNI_COMMAND names no verb */
export function commandOf({ CNI_COMMAND: given }: Environment): Command {
  const found = commands.find((command) => command === given);
  if (found !== undefined) return found;
  const what = given ? `CNI_COMMAND ${shown(given)} is not one of ${commands.join(', ')}` : 'CNI_COMMAND is not set';
  throw new CniError(codes.invalidEnvironment, what, 'this program is run by container runtimes; README.md says how');
}

/**
 * A runtime's call, from what it put into the environment and on stdin.
 * @throws CniError for whatever is not as the specification has it
 */
export function parseCall(environment: Environment, stdin: string): Call {
  const command = commandOf(environment);
  const json = parseJson(stdin);
  const version = versionIn(json);
  if (command === 'VERSION') return { command, version: typeof version === 'string' ? version.slice(0, 32) : newest };
  const config = parseConfig(json);
  const common = commonOf(command, version, config);
  switch (command) {
    case 'STATUS':
      return { command, ...common };
    case 'GC': {
      const valid = config['cni.dev/valid-attachments'];
      // Without the list everything would be garbage.
      if (valid === undefined) throw badConfig('cni.dev/valid-attachments', 'GC needs the list of what is to stay');
      return { command, ...common, valid: valid ?? [] };
    }
    case 'DEL':
      return { command, ...common, ...attachmentIn(environment) };
    case 'CHECK': {
      if (!config.prevResult) throw badConfig('prevResult', 'CHECK needs what ADD has said');
      const at = { ...attachmentIn(environment), netns: netnsIn(environment) };
      return { command, ...common, ...at, previous: config.prevResult };
    }
    case 'ADD': {
      if (config.prevResult) throw badConfig('prevResult', 'weft makes the interface: name it first in the plugins');
      const at = { ...attachmentIn(environment), netns: netnsIn(environment) };
      return { command, ...common, ...at, wanted: wantedIn(config, argsIn(environment)) };
    }
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CniError(codes.notDecoded, `the network configuration is not JSON: ${(error as Error).message}`);
  }
}

const versionIn = (json: unknown): unknown =>
  typeof json === 'object' && json !== null && 'cniVersion' in json ? json.cniVersion : undefined;

function parseConfig(json: unknown): NetworkConfig {
  const parsed = NetworkConfig.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw badConfig(issue?.path.join('.') ?? '', issue?.message ?? 'not valid');
}

function commonOf(command: Command, version: unknown, config: NetworkConfig): Common {
  if (!isSupported(version)) {
    const given = version === undefined ? 'no cniVersion' : `cniVersion ${JSON.stringify(version).slice(0, 64)}`;
    const known = `use one of ${supportedVersions.join(', ')}`;
    throw new CniError(codes.incompatibleVersion, `${given} in the network configuration`, known);
  }
  const first = missingUntil(command, version);
  if (first !== null) {
    const what = `cniVersion ${version} has no ${command}`;
    throw new CniError(codes.incompatibleVersion, what, `use ${first} or later in the network configuration`);
  }
  const { name, network, socket, ipam } = config;
  if (ipam?.type) throw badConfig('ipam', 'Weft gives addresses by itself: leave ipam out');
  if (network === undefined && name.length > 64)
    throw badConfig('network', `${shown(name)} is longer than a network's name`);
  return { version, name, network: network ?? name, socket: socket ?? null };
}

function attachmentIn({ CNI_CONTAINERID: id, CNI_IFNAME: name }: Environment): Attachment {
  const container = containerId.safeParse(id ?? '');
  if (!container.success) {
    throw new CniError(codes.invalidEnvironment, `CNI_CONTAINERID ${shown(id ?? '')}: want letters, digits, _ . or -`);
  }
  return { containerId: container.data, ifName: environmentValue('CNI_IFNAME', parseIfName(name ?? '')) };
}

const netnsIn = ({ CNI_NETNS: path }: Environment): NetnsPath =>
  environmentValue('CNI_NETNS', parseNetnsPath(path ?? ''));

function environmentValue<T>(name: string, parsed: { ok: true; value: T } | { ok: false; reason: string }): T {
  if (parsed.ok) return parsed.value;
  throw new CniError(codes.invalidEnvironment, `${name}: ${parsed.reason}`);
}

// Of Kubernetes and those that do as it does; all but the name is of no use here.
const knownArgs = ['IP', 'MAC', 'K8S_POD_NAME', 'K8S_POD_NAMESPACE', 'K8S_POD_INFRA_CONTAINER_ID', 'K8S_POD_UID'];

/** CNI_ARGS: `KEY=VALUE;KEY=VALUE`. One that is not known is an error, unless IgnoreUnknown says it is not (CONVENTIONS.md). */
function argsIn({ CNI_ARGS: text = '' }: Environment): ReadonlyMap<string, string> {
  const bad = (what: string): CniError => new CniError(codes.invalidEnvironment, `CNI_ARGS: ${what}`);
  if (text.length > argsMaxLength) throw bad(`longer than ${argsMaxLength} characters`);
  const args = new Map<string, string>();
  for (const pair of text.split(';')) {
    if (pair === '') continue;
    const at = pair.indexOf('=');
    if (at < 1) throw bad(`${shown(pair)} is not KEY=VALUE`);
    args.set(pair.slice(0, at), pair.slice(at + 1));
  }
  const lenient = /^(1|t|true|yes|y|on)$/i.test(args.get('IgnoreUnknown') ?? '');
  args.delete('IgnoreUnknown');
  const unknown = lenient ? undefined : [...args.keys()].find((key) => !knownArgs.includes(key));
  if (unknown !== undefined) throw bad(`${shown(unknown)} is not known, and IgnoreUnknown is not set`);
  return args;
}

function wantedIn(config: NetworkConfig, args: ReadonlyMap<string, string>): Wanted {
  const { runtimeConfig, dns } = config;
  const conventional = config.args?.cni;
  const one = (text: string | undefined): string[] | undefined => (text === undefined ? undefined : [text]);
  const ips = runtimeConfig?.ips ?? conventional?.ips ?? one(args.get('IP')) ?? [];
  const mac = runtimeConfig?.mac ?? conventional?.mac ?? args.get('MAC');
  const container = args.get('K8S_POD_NAME') ?? null;
  return {
    ...addressesIn(ips),
    mac: mac === undefined ? null : configValue('mac', parseMac(mac)),
    aliases: aliasesIn(config, container),
    container,
    publish: (runtimeConfig?.portMappings ?? []).flatMap(publishOf),
    dns: {
      servers: runtimeConfig?.dns?.servers ?? dns?.nameservers ?? [],
      search: runtimeConfig?.dns?.searches ?? dns?.search ?? one(dns?.domain) ?? [],
      options: runtimeConfig?.dns?.options ?? dns?.options ?? [],
    },
  };
}

/** Each with a prefix length or without: the network has one. */
function addressesIn(texts: readonly string[]): Pick<Wanted, 'ip' | 'ip6'> {
  const ips = texts.map((text) => configValue('ips', parseIp(text.replace(/\/\d{1,3}$/, ''))));
  const [four, six] = [ips.filter((ip) => !ip.includes(':')), ips.filter((ip) => ip.includes(':'))];
  if (four.length > 1 || six.length > 1) throw badConfig('ips', 'an interface has one address of each family');
  return { ip: four[0] ?? null, ip6: six[0] ?? null };
}

/** The container's own name comes first; one that cannot be a name in DNS is left out, since nobody chose it as that. */
function aliasesIn({ name, runtimeConfig }: NetworkConfig, container: string | null): string[] {
  const { aliases = {} } = runtimeConfig ?? {};
  const own = container !== null && alias.safeParse(container).success ? [container] : [];
  const all = [...new Set([...own, ...(Object.hasOwn(aliases, name) ? (aliases[name] ?? []) : [])])];
  if (all.length > aliasesMax) throw badConfig('runtimeConfig.aliases', `more than ${aliasesMax} names`);
  return all;
}

type Mapping = { hostPort: number; containerPort: number; protocol: string; hostIP: string };

function publishOf({ hostPort, containerPort, protocol, hostIP }: Mapping): string[] {
  // As the portmap plugin does: an exposed port is none to publish.
  if (hostPort === 0) return [];
  const at = hostIP === '' ? null : configValue('runtimeConfig.portMappings', parseIp(hostIP));
  const word = protocol.toLowerCase();
  if (!/^[a-z]+$/.test(word))
    throw badConfig('runtimeConfig.portMappings', `${shown(protocol)} is not tcp, udp or sctp`);
  const host = at === null ? '' : at.includes(':') ? `[${at}]:` : `${at}:`;
  return [`${host}${hostPort}:${containerPort}/${word}`];
}

function configValue<T>(key: string, parsed: { ok: true; value: T } | { ok: false; reason: string }): T {
  if (parsed.ok) return parsed.value;
  throw badConfig(key, parsed.reason);
}

const badConfig = (key: string, why: string): CniError =>
  new CniError(codes.invalidConfig, `network configuration: ${key === '' ? '' : `${key}: `}${why}`);

const shown = (text: string): string => JSON.stringify(text.slice(0, 64));
