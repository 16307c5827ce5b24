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

const globalGroup = 'Global options:';

/** Adds the global options to a command and all below it: last, so that help shows a command's own first. */
export function addGlobalOptions(command: Command): void {
  const host = new Option('-H, --host <path>', 'socket of the agent (default: $WEFT_HOST or /run/weft/weft.sock)');
  command
    .addOption(new Option('--json', 'one JSON document instead of text').helpGroup(globalGroup))
    .addOption(host.helpGroup(globalGroup));
  for (const child of command.commands) addGlobalOptions(child);
}
