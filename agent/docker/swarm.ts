import { overlap, parseSpace } from '../../controlplane/addresses.ts';
import { gatewayBridgeName } from '../../dataplane/gateway-subnet.ts';
import type { IpamConfig, Network, NetworkCreateRequest } from '../api/schema.ts';
import type { DockerInfo, DockerNetwork } from './shapes.ts';
import { wantedOf } from './swarm-request.ts';

// Which networks here match those of a Swarm. Pure.

/** What a Docker can tell of the networks of its Swarm. */
export type SwarmView =
  /** @property gap why some may be missing; '' where they are whole */
  | { readonly ok: true; readonly manager: boolean; readonly gap: string }
  | { readonly ok: false; readonly reason: string; readonly hint: string };

export function swarmView({ swarm: { state, manager, error } }: Pick<DockerInfo, 'swarm'>): SwarmView {
  switch (state) {
    case 'active':
      break;
    case 'inactive':
      return {
        ok: false,
        reason: 'it is in no Swarm',
        hint: 'run this on a manager of the Swarm, or name the socket of its Docker: --docker-socket',
      };
    case 'locked':
      return { ok: false, reason: 'its Swarm is locked', hint: 'unlock it: `docker swarm unlock`' };
    default:
      return {
        ok: false,
        reason: `its Swarm is in state ${state}${error === '' ? '' : `: ${error}`}`,
        hint: 'see `docker info`, or run this on another manager of the Swarm',
      };
  }
  if (!manager) {
    const gap = 'it is a worker of the Swarm, and knows only the networks that are in use there: a manager knows all';
    return { ok: true, manager, gap };
  }
  const gap = `the Swarm does not answer (${error}), and only the networks in use on that host are known`;
  return { ok: true, manager, gap: error === '' ? '' : gap };
}

/** What becomes of one network. */
export type ImportState =
  /** To be made. */
  | 'absent'
  /** It is there, but without some of its subnets. */
  | 'partial'
  /** It is there. */
  | 'present'
  /** Every cluster or host has its own. */
  | 'predefined'
  /** It cannot be made, or another has its name: see `reason`. */
  | 'refused';

export interface NetworkImport {
  readonly state: ImportState;
  /** In the Swarm. */
  readonly from: Pick<DockerNetwork, 'id' | 'name' | 'driver'>;
  /** In Weft. */
  readonly name: string;
  /** Of a network that is to be made. */
  readonly request: NetworkCreateRequest | null;
  /** Subnets that are to be added to it then. */
  readonly subnets: readonly IpamConfig[];
  /** Why it is refused or predefined; ''. */
  readonly reason: string;
  /** What to do about it; ''. */
  readonly hint: string;
  /** What is not as it was, one line each. */
  readonly notes: readonly string[];
}

export interface ImportInput {
  /** All that a Docker has. */
  readonly docker: readonly DockerNetwork[];
  /** All that Weft has; null: unknown. */
  readonly weft: readonly Network[] | null;
  /** Before all names. @default none */
  readonly prefix?: string;
}

/** One for each network of the Swarm, and docker_gwbridge; by name, those that are there anyway last. */
export function planImport({ docker, weft, prefix = '' }: ImportInput): NetworkImport[] {
  return docker
    .filter(({ scope, name }) => scope === 'swarm' || name === gatewayBridgeName)
    .map((network) => importOf(network, weft ?? [], prefix))
    .sort((a, b) => Number(isPredefined(a)) - Number(isPredefined(b)) || (a.from.name < b.from.name ? -1 : 1));
}

const isPredefined = ({ state }: NetworkImport): boolean => state === 'predefined';

function importOf(from: DockerNetwork, weft: readonly Network[], prefix: string): NetworkImport {
  const { id, driver } = from;
  const name = `${prefix}${from.name}`;
  const nothing = {
    ...{ from: { id, name: from.name, driver }, name, request: null, subnets: [] },
    ...{ reason: '', hint: '', notes: [] },
  };
  const predefined = predefinedAs(from);
  if (predefined !== null) return { ...nothing, name: from.name, state: 'predefined', reason: predefined };
  const wanted = wantedOf(from, name);
  if (!wanted.ok) return { ...nothing, state: 'refused', reason: wanted.reason, hint: wanted.hint };
  const { request, further, notes } = wanted;
  const there = weft.find((network) => network.Name === name);
  if (there === undefined) {
    const shared = overlapping([...(request.IPAM?.Config ?? []), ...further], weft);
    return { ...nothing, state: 'absent', request, subnets: further, notes: [...notes, ...shared] };
  }
  const found = compare(there, request, further);
  if (found.reason !== null) {
    const reason = `Weft has another network ${name}: ${found.reason}`;
    return { ...nothing, state: 'refused', reason, hint: 'take another name: --prefix' };
  }
  const state = found.missing.length > 0 ? 'partial' : 'present';
  return { ...nothing, state, subnets: found.missing, notes: found.notes };
}

function predefinedAs({ ingress, name, driver }: DockerNetwork): string | null {
  if (ingress) return 'every cluster has its own ingress, in a subnet of its own';
  return name === gatewayBridgeName && driver === 'bridge' ? 'the agent takes the one that is there, as it is' : null;
}

/** Each network is apart from all others, but what is on two of one subnet cannot tell them apart. */
function overlapping(configs: readonly IpamConfig[], weft: readonly Network[]): string[] {
  return configs.flatMap(({ Subnet }) => {
    const space = parseSpace(Subnet);
    const sharing = weft.filter(({ IPAM }) =>
      IPAM.Config.some((other) => {
        const theirs = parseSpace(other.Subnet);
        return space !== null && theirs !== null && overlap(space, theirs);
      }),
    );
    const names = sharing.map(({ Name }) => Name).join(', ');
    return sharing.length === 0 ? [] : [`${Subnet} shares addresses with ${names} in Weft: let nothing be on both`];
  });
}

interface Comparison {
  /** Why it is another one; null when it is the same. */
  readonly reason: string | null;
  /** Subnets that it has not. */
  readonly missing: readonly IpamConfig[];
  readonly notes: readonly string[];
}

/** What is there, and may have grown since. Labels, the MTU and what narrows a subnet do not make it another network. */
function compare(there: Network, request: NetworkCreateRequest, further: readonly IpamConfig[]): Comparison {
  const another = (reason: string): Comparison => ({ reason, missing: [], notes: [] });
  if (there.Scope === 'local') return another(`it is of that host alone (driver ${there.Driver})`);
  if (there.Internal !== (request.Internal ?? false)) {
    return another(there.Internal ? 'it is internal' : 'it is not internal');
  }
  for (const [family, has, wants] of [
    ['IPv4', there.EnableIPv4, request.EnableIPv4 ?? true],
    ['IPv6', there.EnableIPv6, request.EnableIPv6 ?? false],
  ] as const) {
    if (has !== wants) return another(has ? `it has ${family}` : `it has no ${family}`);
  }
  const notes: string[] = [];
  const missing: IpamConfig[] = [];
  const first = request.IPAM?.Config ?? [];
  for (const config of [...first, ...further]) {
    const has = there.IPAM.Config.find(({ Subnet }) => Subnet === config.Subnet);
    if (has === undefined) {
      const all = there.IPAM.Config.map(({ Subnet }) => Subnet).join(', ');
      if (first.includes(config)) return another(`its subnet is ${all}, and not ${config.Subnet}`);
      missing.push(config);
    } else if (config.Gateway !== undefined && has.Gateway !== config.Gateway) {
      return another(`its gateway is ${has.Gateway}, and not ${config.Gateway}`);
    } else if (has.IPRange !== config.IPRange || !same(has.AuxiliaryAddresses ?? {}, config.AuxiliaryAddresses ?? {})) {
      notes.push(`its addresses of ${config.Subnet} are narrowed otherwise`);
    }
  }
  if (!same(there.Options, request.Options ?? {})) notes.push('it has other options');
  if (!same(there.Labels, request.Labels ?? {})) notes.push('it has other labels');
  return { reason: null, missing, notes };
}

type Texts = { readonly [key: string]: string };

function same(a: Texts, b: Texts): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => Object.hasOwn(b, key) && a[key] === b[key]);
}
