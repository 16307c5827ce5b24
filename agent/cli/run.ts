import { type Command, CommanderError } from 'commander';
import { exitCodes, usage } from './failure.ts';
import { buildProgram } from './program.ts';
import { type Io, Session } from './session.ts';

/** Runs one command line (without the program's name) to its end; resolves to the exit code. */
export async function run(argv: readonly string[], io: Io): Promise<number> {
  const session = new Session(io);
  // Until commander has found the command and its options, this is the best guess.
  const end = argv.indexOf('--');
  session.json = argv.slice(0, end === -1 ? argv.length : end).includes('--json');
  const program = buildProgram(session);
  explainUsage(program);
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) session.fail(error);
    else if (error.exitCode !== 0) session.exitCode = exitCodes.usage;
  }
  return session.exitCode;
}

// Commander says only what was wrong; the way on depends on the command at which it gave up.
function explainUsage(command: Command): void {
  command.exitOverride((error) => {
    if (!error.message.startsWith('error: ')) throw error;
    const [message = '', suggestion = ''] = error.message.slice('error: '.length).split('\n');
    const help = `See \`${pathOf(command)} --help\`.`;
    const meant = /^\(Did you mean (.*)\?\)$/.exec(suggestion)?.[1];
    throw usage(message, meant === undefined ? help : `Did you mean ${meant}? ${help}`);
  });
  for (const child of command.commands) explainUsage(child);
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}
