import { type Command, Option } from 'commander';

/** What every command must say of itself. */
export interface Description {
  /** One line; also the first of the help. */
  readonly summary: string;
  /** More of the help. */
  readonly details?: string;
  /** Command lines, without the prompt. */
  readonly examples: readonly [string, ...string[]];
}

/** Adds a command: name and operands as commander writes them, help with its examples. */
export function define(parent: Command, name: string, description: Description): Command {
  return describe(parent.command(name), description);
}

/** Gives a command its help. */
export function describe(command: Command, { summary, details, examples }: Description): Command {
  return command
    .summary(summary)
    .description(details === undefined ? summary : `${summary}\n\n${details}`)
    .addHelpOption(new Option('-h, --help', 'show this help').helpGroup(globalGroup))
    .addHelpText('after', `\nExamples:\n${examples.map((line) => `  $ ${line}`).join('\n')}`);
}

/** Lets the switches of a command be written as Docker's may be, `--ipv6=true`, `--ipv4=false`: commander knows no value of them. */
export function takeSwitchValues(command: Command): Command {
  const parse = command.parseOptions.bind(command);
  command.parseOptions = (words) => parse(withoutSwitchValues(command, words));
  return command;
}

function withoutSwitchValues(command: Command, words: readonly string[]): string[] {
  const end = words.indexOf('--');
  return words.flatMap((word, at) => {
    const [, long = '', value] = /^--([a-z0-9-]+)=(true|false)$/.exec(word) ?? [];
    const isSwitch = command.options.some((option) => option.long === `--${long}` && option.isBoolean());
    if (!isSwitch || (end !== -1 && at > end)) return [word];
    if (value === 'true') return [`--${long}`];
    // Without a negative of its own it is off unless it is given.
    return command.options.some((option) => option.long === `--no-${long}`) ? [`--no-${long}`] : [];
  });
}

const globalGroup = 'Global options:';

/** Adds the global options to a command and all below it: last, so that help shows a command's own first. */
export function addGlobalOptions(command: Command): void {
  const host = new Option('-H, --host <path>', 'socket of the agent (default: $WEFT_HOST or /run/weft/weft.sock)');
  command
    .addOption(new Option('--json', 'one JSON document instead of text').helpGroup(globalGroup))
    .addOption(host.helpGroup(globalGroup));
  for (const child of command.commands) addGlobalOptions(child);
}
