import type { Argument, Command, Option } from 'commander';
import type { LocalClient } from '../api/client.ts';

/** A word that could stand at the cursor. */
export interface Candidate {
  readonly value: string;
  /** For the shells that show one. */
  readonly about: string;
}

/** What belongs at the cursor: words, or what an agent or the file system knows. */
export type Wanted =
  | { readonly kind: 'words'; readonly words: readonly Candidate[]; readonly prefix: string; readonly typed: string }
  | ({ readonly kind: NameKind; readonly prefix: string; readonly typed: string } & Sockets)
  | { readonly kind: 'file' }
  | { readonly kind: 'nothing' };

/** Things that have names, as operands and option values are called in the commands' usage. */
const nameKinds = ['network', 'sandbox', 'node', 'service', 'swarm-network'] as const;
export type NameKind = (typeof nameKinds)[number];

/** Who knows names, as far as the words before say it. */
export interface Sockets {
  readonly host?: string;
  readonly dockerSocket?: string;
}

/**
 * What can stand at the cursor, by walking the commands themselves.
 * @param words after the program's name up to the cursor; the last is the one being typed, perhaps empty
 */
export function wantedAt(program: Command, words: readonly string[]): Wanted {
  const before = words.slice(0, -1);
  const typed = words.at(-1) ?? '';
  const state: State = {
    command: program,
    operands: [],
    open: undefined,
    ended: false,
    sockets: {},
    used: new Set(),
  };
  for (const word of before) step(state, word);
  const { command, open } = state;

  // Bash breaks `--name=value` into three words: the sign alone opens the value, and does not yet begin it.
  if (open !== undefined) return named(open, typed === '=' ? '' : typed, '', state.sockets);
  if (!state.ended && typed.startsWith('-')) {
    const at = typed.indexOf('=');
    const option = at === -1 ? undefined : findOption(command, typed.slice(0, at));
    if (option !== undefined) return named(option, typed.slice(at + 1), typed.slice(0, at + 1), state.sockets);
    return { kind: 'words', words: optionsOf(state), prefix: '', typed };
  }
  if (command.commands.length > 0) return { kind: 'words', words: verbsOf(command), prefix: '', typed };
  const operand = operandAt(command, state.operands.length);
  return operand === undefined ? { kind: 'nothing' } : named(operand, typed, '', state.sockets);
}

/** The candidates for what is wanted; an agent or a Docker that does not answer has none. */
export async function candidates(
  wanted: Wanted,
  client: (host: string | undefined) => LocalClient,
  swarmNetworks: (dockerSocket: string | undefined) => Promise<Candidate[]>,
): Promise<Candidate[]> {
  if (wanted.kind === 'file' || wanted.kind === 'nothing') return [];
  const all =
    wanted.kind === 'words'
      ? wanted.words
      : wanted.kind === 'swarm-network'
        ? await swarmNetworks(wanted.dockerSocket).catch(() => [])
        : await names(wanted.kind, () => client(wanted.host));
  return all
    .filter(({ value }) => value.startsWith(wanted.typed))
    .map(({ value, about }) => ({ value: `${wanted.prefix}${value}`, about }));
}

interface State {
  command: Command;
  operands: string[];
  /** Option whose value comes next. */
  open: Option | undefined;
  /** After `--`, or in a command of someone else. */
  ended: boolean;
  sockets: Sockets;
  readonly used: Set<Option>;
}

function step(state: State, word: string): void {
  if (state.open !== undefined) {
    if (word === '=') return;
    learn(state, state.open, word);
    state.open = undefined;
    return;
  }
  if (!state.ended && word === '--') {
    state.ended = true;
    return;
  }
  if (!state.ended && word.startsWith('-') && word !== '-') {
    stepOption(state, word);
    return;
  }
  const verb = state.command.commands.find((child) => child.name() === word || child.aliases().includes(word));
  if (verb === undefined) state.operands.push(word);
  else state.command = verb;
}

function stepOption(state: State, word: string): void {
  const at = word.indexOf('=');
  const option = findOption(state.command, at === -1 ? word : word.slice(0, at));
  if (option === undefined) return;
  state.used.add(option);
  if (at === -1 && option.required) state.open = option;
  else if (at !== -1) learn(state, option, word.slice(at + 1));
}

function learn(state: State, option: Option, value: string): void {
  const name = option.attributeName();
  if (name === 'host' || name === 'dockerSocket') state.sockets = { ...state.sockets, [name]: value };
}

function findOption(command: Command, flag: string): Option | undefined {
  return command.options.find((option) => option.long === flag || option.short === flag);
}

function optionsOf({ command, used }: State): Candidate[] {
  // An option that is parsed may be repeatable, and then comes again.
  const free = command.options.filter(
    (option) => !option.hidden && !(used.has(option) && option.parseArg === undefined),
  );
  return [...free.map((option) => ({ value: option.long ?? '', about: option.description })), helpOption];
}

const helpOption: Candidate = { value: '--help', about: 'show this help' };

function verbsOf(command: Command): Candidate[] {
  return command
    .createHelp()
    .visibleCommands(command)
    .map((child) => ({ value: child.name(), about: child.summary() || child.description() }));
}

function operandAt(command: Command, index: number): Argument | undefined {
  const operands = command.registeredArguments;
  const last = operands.at(-1);
  return operands[index] ?? (last?.variadic ? last : undefined);
}

function named(what: Option | Argument, typed: string, prefix: string, sockets: Sockets): Wanted {
  if (what.argChoices !== undefined) {
    return { kind: 'words', words: what.argChoices.map((value) => ({ value, about: '' })), prefix, typed };
  }
  const name = 'flags' in what ? (/<([^>]*)>/.exec(what.flags)?.[1] ?? '') : what.name();
  const kind = nameKinds.find((known) => known === name);
  if (kind !== undefined) return { kind, prefix, typed, ...sockets };
  return { kind: name === 'file' || name === 'path' || name === 'command' ? 'file' : 'nothing' };
}

async function names(kind: Exclude<NameKind, 'swarm-network'>, connect: () => LocalClient): Promise<Candidate[]> {
  try {
    const client = connect();
    switch (kind) {
      case 'network':
        return (await client.call('networkList')).map((network) => ({ value: network.Name, about: network.Driver }));
      case 'sandbox':
        return (await client.call('sandboxList')).map((sandbox) => ({ value: sandbox.Name, about: 'sandbox' }));
      case 'service':
        return (await client.call('serviceList')).map((service) => ({ value: service.Name, about: service.Network }));
      case 'node':
        return (await client.call('nodeList')).map((node) => ({ value: node.Hostname, about: node.Status }));
    }
  } catch {
    return [];
  }
}
