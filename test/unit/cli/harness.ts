import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { AgentFlags } from '../../../agent/cli/agent-flags.ts';
import { run } from '../../../agent/cli/run.ts';
import type { FakeAgent } from './fake-agent.ts';
import { now } from './replies.ts';

/** What one run of the command line left. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Around {
  readonly env?: Record<string, string>;
  readonly stdin?: string;
  readonly terminal?: boolean;
  readonly runAgent?: (flags: AgentFlags) => Promise<number>;
}

/** Runs the command line in this process. */
export async function weft(argv: readonly string[], around: Around = {}): Promise<Outcome> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await run(argv, {
    env: around.env ?? {},
    stdin: Object.assign(
      (async function* () {
        yield around.stdin ?? '';
      })(),
      { isTTY: around.terminal ?? false },
    ),
    stdout: { write: (text) => out.push(text) },
    stderr: { write: (text) => err.push(text), isTTY: around.terminal ?? false },
    now: () => now,
    runAgent: around.runAgent ?? (() => Promise.reject(new Error('not this one'))),
  });
  return { code, stdout: out.join(''), stderr: err.join('') };
}

/** Same, against a fake agent; whatever comes must exit with 0 and say nothing on stderr. */
export async function ok(agent: FakeAgent, argv: readonly string[], around: Around = {}): Promise<string> {
  const outcome = await weft(argv, { ...around, env: { WEFT_HOST: agent.socketPath, ...around.env } });
  assert.deepEqual({ ...outcome, stdout: '' }, { code: 0, stdout: '', stderr: '' }, argv.join(' '));
  return outcome.stdout;
}

/** Same, for what fails. */
export function failing(agent: FakeAgent, argv: readonly string[], around: Around = {}): Promise<Outcome> {
  return weft(argv, { ...around, env: { WEFT_HOST: agent.socketPath, ...around.env } });
}

export const root = fileURLToPath(new URL('../../..', import.meta.url));

export interface ChildOptions {
  readonly env?: Record<string, string>;
  readonly uid?: number;
  /** Called with each piece of stdout. */
  readonly onStdout?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
}

/** Runs a program to its end and keeps what it says. */
export function child(command: readonly string[], options: ChildOptions = {}): Promise<Outcome> {
  const [program = '', ...args] = command;
  return new Promise((resolve, reject) => {
    const { uid } = options;
    const running = spawn(program, args, {
      cwd: '/',
      env: { PATH: process.env['PATH'] ?? '', ...options.env },
      ...(uid === undefined ? {} : { uid, gid: uid }),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let stdout = '';
    let stderr = '';
    running.stdout.on('data', (text: Buffer) => {
      stdout += text;
      options.onStdout?.(stdout, (signal) => running.kill(signal));
    });
    running.stderr.on('data', (text: Buffer) => {
      stderr += text;
    });
    running.on('error', reject);
    running.on('close', (code, signal) => {
      if (code === null) reject(new Error(`${program} died by ${signal}: ${stderr}`));
      else resolve({ code, stdout, stderr });
    });
  });
}
