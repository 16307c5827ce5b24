import type { IpamConfig, NetworkCreateRequest } from '../api/schema.ts';
import type { NetworkImport } from '../docker/swarm.ts';
import { commandLine } from './shell.ts';
import { oneLine } from './text.ts';

// What `weft import swarm` says.

/** What has become of a network. */
export interface ImportResult {
  readonly of: NetworkImport;
  readonly state: 'created' | 'completed' | 'present' | 'predefined' | 'refused' | 'failed';
  /** In Weft, of one that was made; ''. */
  readonly id: string;
}

/** What a person would type to have it here; nothing for one that is there, or cannot be. */
export function commandsOf({ name, request, subnets }: NetworkImport): string[] {
  return [
    ...(request === null ? [] : [create(request)]),
    ...subnets.map(({ Subnet, ...rest }) =>
      commandLine(['weft', 'network', 'update', '--subnet-add', Subnet, ...narrowing(rest), name]),
    ),
  ];
}

function create(request: NetworkCreateRequest): string {
  const { Name, Internal, Attachable, EnableIPv4, EnableIPv6, IPAM, Options, Labels } = request;
  return commandLine([
    ...['weft', 'network', 'create'],
    ...(Internal ? ['--internal'] : []),
    ...(Attachable ? ['--attachable'] : []),
    ...(EnableIPv4 === false ? ['--ipv4=false'] : []),
    ...(EnableIPv6 ? ['--ipv6'] : []),
    ...(IPAM?.Config ?? []).flatMap(({ Subnet, ...rest }) => ['--subnet', Subnet, ...narrowing(rest)]),
    ...Object.entries(Options ?? {}).flatMap(([key, value]) => option('--opt', `${key}=${value}`)),
    ...Object.entries(Labels ?? {}).flatMap(([key, value]) => option('--label', `${key}=${value}`)),
    Name,
  ]);
}

function narrowing({ Gateway, IPRange, AuxiliaryAddresses = {} }: Omit<IpamConfig, 'Subnet'>): string[] {
  return [
    ...(Gateway === undefined ? [] : ['--gateway', Gateway]),
    ...(IPRange === undefined ? [] : ['--ip-range', IPRange]),
    ...Object.entries(AuxiliaryAddresses).flatMap(([key, ip]) => option('--aux-address', `${key}=${ip}`)),
  ];
}

// As a word of its own it could be taken for a switch.
const option = (flag: string, value: string): string[] =>
  value.startsWith('-') ? [`${flag}=${value}`] : [flag, value];

/** The plan as a script: commands, and the rest as comments. */
export function planText(all: readonly NetworkImport[], socket: string, prefix: string): string {
  const todo = all.filter(({ state }) => state === 'absent' || state === 'partial');
  const commands = todo.flatMap((each) => [
    ...each.notes.map((note) => comment(`${each.name}: ${note}`)),
    ...commandsOf(each),
  ]);
  const rest = all.filter((each) => !todo.includes(each)).flatMap((each) => remarks(each).map(comment));
  const head = `The networks of the Swarm of Docker at ${socket}, to be made on a manager of Weft; --create makes them.`;
  const foot = todo.length > 0 ? [comment(after(prefix))] : [];
  const parts = [[comment(head)], commands, rest, foot].filter((lines) => lines.length > 0);
  return parts.map((lines) => lines.map((line) => `${line}\n`).join('')).join('\n');
}

const comment = (text: string): string => `# ${oneLine(text)}`;

function remarks({ state, name, reason, hint, notes }: NetworkImport): string[] {
  switch (state) {
    case 'refused':
      return [`${name} cannot be made: ${reason}; ${hint}`];
    case 'predefined':
      return [`${name}: ${reason}`];
    default:
      return [`${name} is there already`, ...notes.map((note) => `${name}: ${note}`)];
  }
}

const after = (prefix: string): string =>
  prefix === ''
    ? 'A Docker that has a network of the Swarm cannot have ours of that name: `docker network rm` it when nothing is on it any more.'
    : `Containers go to them with \`docker run --network ${prefix}NAME\`; \`docker network rm NAME\` when nothing is on the Swarm's any more.`;

/** What was done; what was not is told on its own. */
export function outcomeText(results: readonly ImportResult[], prefix: string): string {
  const lines = results.flatMap(({ of, state }) => {
    const { name, notes, subnets, reason } = of;
    switch (state) {
      case 'created':
        return [`${name}: made`, ...notes.map((note) => `${name}: ${note}`)];
      case 'completed':
        return [`${name}: given ${subnets.map(({ Subnet }) => Subnet).join(', ')}`];
      case 'present':
      case 'predefined':
        return remarks(of).map((line) => (reason === '' ? line : `${name}: ${reason}`));
      default:
        return [];
    }
  });
  const count = (...states: ImportResult['state'][]): number =>
    results.filter(({ state }) => states.includes(state)).length;
  const done = count('created', 'completed');
  const counts = [
    [done, 'made'],
    [count('present', 'predefined'), 'there already'],
    [count('refused'), 'cannot be made'],
    [count('failed'), 'failed'],
  ] as const;
  const sum = counts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}`);
  if (sum.length > 0) lines.push(sum.join(', '));
  if (done > 0) lines.push(after(prefix));
  return lines.map((line) => `${oneLine(line)}\n`).join('');
}
