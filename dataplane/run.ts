import { type ExecaError, execa } from 'execa';
import type { Where } from './steps.ts';

/** A loaded host takes some hundred ms for a large batch; a command that takes this long hangs on a kernel lock. */
const COMMAND_TIMEOUT_MS = 15_000;
const OUTPUT_MAX_BYTES = 64 * 1024 * 1024;
/** Neither systemd nor a login shell promises the sbin directories. */
const ENVIRONMENT = { LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin` };

/** A command that ended badly; `stderr` is its own words. */
export class CommandError extends Error {
  readonly stderr: string;
  /** One-based line of a batch at which `ip` stopped; null when it did not say. */
  readonly line: number | null;
  /** True when the command did not run at all or was killed for taking too long: the next one will fare no better. */
  readonly hopeless: boolean;
  readonly notInstalled: boolean;

  constructor(command: string, stderr: string, cause: unknown) {
    const failedAt = /^Command failed -:(\d+)$/m.exec(stderr);
    const words = stderr
      .replace(/^Command failed .*$/m, '')
      .replace(/^(RTNETLINK answers|Error): /gm, '')
      .trim();
    super(`${command}: ${words.split('\n').join('; ') || 'failed without a word'}`, { cause });
    this.name = 'CommandError';
    this.stderr = words;
    this.line = failedAt?.[1] ? Number(failedAt[1]) : null;
    const { timedOut, code } = (cause ?? {}) as { timedOut?: boolean; code?: string };
    this.notInstalled = code === 'ENOENT';
    this.hopeless = timedOut === true || this.notInstalled || code === 'EACCES';
  }
}

/** Runs `ip -batch -` in a namespace (null: our own); `ip` stops at the first line that fails. Throws CommandError. */
export async function runIpBatch(where: Where, lines: readonly string[]): Promise<void> {
  const batch = ['ip', '-batch', '-'];
  await run(where === null ? batch : ['nsenter', `--net=${where}`, ...batch], `${lines.join('\n')}\n`);
}

/** Makes or removes a named namespace, `ip netns add|del NAME`. Throws CommandError. */
export async function runIpNetns(verb: 'add' | 'del', name: string): Promise<void> {
  await run(['ip', 'netns', verb, name], '');
}

/** Applies an nft script as one transaction. Throws CommandError. */
export async function runNft(script: string): Promise<void> {
  await run(['nft', '-f', '-'], script);
}

/** `nft -j list table inet NAME`; null when there is no such table, or no nft that could have made one. Throws CommandError. */
export async function listNftTable(name: string): Promise<string | null> {
  try {
    return await run(['nft', '-j', 'list', 'table', 'inet', name], '');
  } catch (error) {
    if (error instanceof CommandError && (error.notInstalled || error.stderr.includes('No such file or directory'))) {
      return null;
    }
    throw error;
  }
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
