import { type ExecFileException, execFile } from 'node:child_process';
import { inNetns } from '../rtnetlink/libc.ts';
import type { NetnsPath } from '../values.ts';

/** A loaded host takes some hundred ms; a command that takes this long hangs on a kernel lock. */
const COMMAND_TIMEOUT_MS = 15_000;
const OUTPUT_MAX_BYTES = 64 * 1024 * 1024;
/** All that a command gets. Neither systemd nor a login shell promises the sbin directories. */
const ENVIRONMENT = { LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin` };

/** A command that ended badly; `stderr` is its own words. */
export class CommandError extends Error {
  readonly stderr: string;

  constructor(command: string, stderr: string, cause: unknown) {
    const words = stderr.replace(/^(RTNETLINK answers|Error): /gm, '').trim();
    super(`${command}: ${words.split('\n').join('; ') || 'failed without a word'}`, { cause });
    this.name = 'CommandError';
    this.stderr = words;
  }
}

/** Makes or removes a named namespace, `ip netns add|del NAME`. Throws CommandError. */
export async function runIpNetns(verb: 'add' | 'del', name: string): Promise<void> {
  await run(['ip', 'netns', verb, name], '');
}

/** Applies an nft script as one transaction, in a namespace or (null) our own. Throws CommandError. */
export async function runNft(script: string, netns: NetnsPath | null): Promise<void> {
  // A child begins in the namespace of the thread that made it, and it is made before the call returns.
  const start = (): Promise<void> => run(['nft', '-f', '-'], script);
  await (netns === null ? start() : inNetns(netns, start));
}

function run([file, ...args]: readonly [string, ...string[]], input: string): Promise<void> {
  const bounds = { env: ENVIRONMENT, timeout: COMMAND_TIMEOUT_MS, maxBuffer: OUTPUT_MAX_BYTES };
  return new Promise((resolve, reject) => {
    const child = execFile(file, args, bounds, (error, _, stderr) => {
      if (error === null) resolve();
      else reject(new CommandError([file, ...args].join(' '), stderr.trim() || howItEnded(error), error));
    });
    // One that ends without reading all of it says itself why.
    child.stdin?.on('error', () => {}).end(input);
  });
}

function howItEnded({ code, killed, signal, message }: ExecFileException): string {
  if (code === 'ENOENT') return 'is not installed, or not in PATH';
  if (typeof code === 'string') return message;
  if (killed) return `has not ended within ${COMMAND_TIMEOUT_MS / 1000} s`;
  if (signal) return `ended by ${signal}`;
  return `exit code ${code}`;
}
