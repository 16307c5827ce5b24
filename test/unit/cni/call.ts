import { run } from '../../../agent/cni/run.ts';

export interface Answer {
  readonly exitCode: number;
  /** What was on stdout; null for nothing. */
  readonly json: Record<string, unknown> | null;
}

/** One call of the plugin, as a runtime makes it. @param stdin an object is JSON */
export async function cni(
  socketPath: string,
  env: Readonly<Record<string, string | undefined>>,
  stdin: unknown,
): Promise<Answer> {
  const text = typeof stdin === 'string' ? stdin : JSON.stringify(stdin);
  const { stdout, exitCode } = await run({ env, stdin: chunks(text), socketPath });
  return { exitCode, json: stdout === '' ? null : (JSON.parse(stdout) as Record<string, unknown>) };
}

async function* chunks(text: string): AsyncGenerator<Buffer> {
  const bytes = Buffer.from(text);
  // Cut anywhere, also inside a character.
  for (let at = 0; at < bytes.length; at += 4093) yield bytes.subarray(at, at + 4093);
}
