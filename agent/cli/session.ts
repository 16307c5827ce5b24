import type { Command } from 'commander';
import { LocalClient } from '../api/client.ts';
import type { RunAgent } from './agent-flags.ts';
import { type Failure, isFinal, reportOf, usage } from './failure.ts';
import { socketPath } from './parse.ts';
import { oneLine } from './text.ts';

/** Where text goes. */
export interface Sink {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

/** What the command line touches of its process. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: AsyncIterable<Uint8Array | string> & { readonly isTTY?: boolean };
  readonly stdout: Sink;
  readonly stderr: Sink;
  /** Milliseconds since 1970. */
  now(): number;
  /** `weft agent`. Given from outside, so that the other verbs never load the daemon. */
  readonly runAgent: RunAgent;
}

/** Options that every command understands, before and after the verb. */
export interface GlobalFlags {
  readonly json?: boolean;
  readonly host?: string;
}

/** Default socket of the agent. */
export const defaultSocket = '/run/weft/weft.sock';

/** What an action works with. */
export interface Context {
  readonly io: Io;
  readonly json: boolean;
  readonly client: LocalClient;
  /** For people, on stdout; not with `--json`. */
  print(text: string): void;
  /** For programs, on stdout; only with `--json`. */
  document(value: unknown): void;
  /** Tells of one failure and goes on; the command will not exit with 0. */
  fail(error: unknown): void;
  /** Ends the command with this code. */
  exit(code: number): void;
  /** Waits for `work`; tells a person at a terminal what for when that takes longer than `afterMs`. */
  progress<T>(what: string, work: Promise<T>, afterMs?: number): Promise<T>;
}

/** One run of the command line. */
export class Session {
  exitCode = 0;
  json = false;
  readonly io: Io;

  constructor(io: Io) {
    this.io = io;
  }

  /** Makes a commander action of `handler`, which gets the command's own flags and its operands. */
  action<Flags>(handler: (context: Context, flags: Flags, operands: string[]) => Promise<void> | void) {
    return async (...given: unknown[]): Promise<void> => {
      const command = given.at(-1) as Command;
      await handler(this.#context(globalFlags(command)), command.opts() as Flags, command.args);
    };
  }

  /** Writes a failure to stderr and takes over its exit code, unless an earlier failure has set one. */
  fail(error: unknown): void {
    const { exitCode, code, message, hint } = reportOf(error);
    this.exitCode ||= exitCode;
    if (this.json) {
      this.io.stderr.write(
        `${JSON.stringify({ error: { code, message, ...(hint === undefined ? {} : { hint }) } })}\n`,
      );
      return;
    }
    this.io.stderr.write(`weft: ${oneLine(message)}\n${hint === undefined ? '' : `${oneLine(hint)}\n`}`);
  }

  #context(flags: GlobalFlags): Context {
    const { io } = this;
    const json = flags.json ?? false;
    this.json = json;
    return {
      io,
      json,
      // Only when asked for: a bad WEFT_HOST is no reason for `weft agent` not to start.
      get client() {
        return new LocalClient({ socketPath: resolveSocket(flags.host, io.env) });
      },
      print: (text) => {
        if (!json) io.stdout.write(text);
      },
      document: (value) => {
        if (json) writeJson(io.stdout, value);
      },
      fail: (error) => this.fail(error),
      exit: (code) => {
        this.exitCode = code;
      },
      progress: async (what, work, afterMs = 300) => {
        if (json || io.stderr.isTTY !== true) return work;
        let shown = false;
        const timer = setTimeout(() => {
          shown = true;
          io.stderr.write(`${what} …`);
        }, afterMs);
        try {
          return await work;
        } finally {
          clearTimeout(timer);
          if (shown) io.stderr.write('\r\x1b[K');
        }
      },
    };
  }
}

/** One JSON document, indented as Docker's. */
export function writeJson(sink: Sink, value: unknown): void {
  sink.write(`${JSON.stringify(value, null, 4)}\n`);
}

/** Calls `work` for each operand; a failure is told and the next one tried, unless there is no agent to ask. */
export async function each<T>(
  context: Context,
  operands: readonly string[],
  work: (operand: string) => Promise<T>,
): Promise<T[]> {
  const done: T[] = [];
  for (const operand of operands) {
    try {
      done.push(await work(operand));
    } catch (error) {
      context.fail(error);
      if (isFinal(error)) break;
    }
  }
  return done;
}

/** `--host`, else WEFT_HOST, else the default. */
export function resolveSocket(host: string | undefined, env: Io['env']): string {
  const [source, text] = host === undefined ? ['WEFT_HOST', env['WEFT_HOST'] || defaultSocket] : ['--host', host];
  const parsed = socketPath(text);
  if (parsed.ok) return parsed.path;
  throw badHost(source, text, parsed.reason);
}

function badHost(source: string, text: string, reason: string): Failure {
  return usage(`${source} "${text}": ${reason}`);
}

/** The nearest to the verb wins. */
function globalFlags(command: Command): GlobalFlags {
  let flags: GlobalFlags = {};
  for (let at: Command | null = command; at !== null; at = at.parent) {
    const { json, host } = at.opts() as GlobalFlags;
    flags = { ...(json === undefined ? {} : { json }), ...(host === undefined ? {} : { host }), ...flags };
  }
  return flags;
}

/** Tells a person, on stderr; not with `--json`. */
export function warn({ io, json }: Context, text: string): void {
  if (!json) io.stderr.write(`weft: ${oneLine(text)}\n`);
}
