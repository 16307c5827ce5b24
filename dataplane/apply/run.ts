import { type ExecaError, execa } from 'execa';
import { inNetns } from '../rtnetlink/libc.ts';
import type { NetnsPath } from '../values.ts';

/** A loaded host takes some hundred ms; a command that takes this long hangs on a kernel lock. */
const COMMAND_TIMEOUT_MS = 15_000;
const OUTPUT_MAX_BYTES = 64 * 1024 * 1024;
/** Neither systemd nor a login shell promises the sbin directories. */
const ENVIRONMENT = { LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin` };

/** A command that ended badly; `stderr` is its own words. */
export class CommandError extends Error {
  readonly stderr: string;
  readonly notInstalled: boolean;

  constructor(command: string, stderr: string, cause: unknown) {
    const words = stderr.replace(/^(RTNETLINK answers|Error): /gm, '').trim();
    super(`${command}: ${words.split('\n').join('; ') || 'failed without a word'}`, { cause });
    this.name = 'CommandError';
    this.stderr = words;
    this.notInstalled = (cause as { code?: string } | null)?.code === 'ENOENT';
  }
}

/** Makes or removes a named namespace, `ip netns add|del NAME`. Throws CommandError. */
export async function runIpNetns(verb: 'add' | 'del', name: string): Promise<void> {
  await run(['ip', 'netns', verb, name], '');
}

/** Applies an nft script as one transaction, in a namespace or (null) our own. Throws CommandError. */
export async function runNft(script: string, netns: NetnsPath | null): Promise<void> {
  // A child begins in the namespace of the thread that made it, and it is made before the call returns.
  const start = (): Promise<string> => run(['nft', '-f', '-'], script);
  await (netns === null ? start() : inNetns(netns, start));
}

async function run(command: readonly [string, ...string[]] | string[], input: string): Promise<string> {
  const [file = '', ...args] = command;
  try {
    const { stdout } = await execa(file, args, {
      input,
      env: ENVIRONMENT,
      timeout: COMMAND_TIMEOUT_MS,
      maxBuffer: OUTPUT_MAX_BYTES,
      stripFinalNewline: false,
    });
    return stdout;
  } catch (error) {
    const { stderr, shortMessage } = error as ExecaError;
    const words = typeof stderr === 'string' && stderr.trim() ? stderr : (shortMessage ?? String(error));
    throw new CommandError(command.join(' '), words, error);
  }
}
