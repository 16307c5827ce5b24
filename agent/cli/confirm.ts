import { exitCodes, Failure, usage } from './failure.ts';
import type { Context } from './session.ts';

const maxAnswer = 1000;

/** Asks a person at a terminal; goes on with `y` or `yes` alone. @throws Failure on anything else, or without a terminal */
export async function confirm({ io, json }: Context, question: string): Promise<void> {
  if (json || io.stdin.isTTY !== true) {
    throw usage(
      'this asks before it changes anything, and there is no terminal to ask at',
      'say --yes, or look with --dry-run',
    );
  }
  io.stderr.write(`${question} [y/N] `);
  let answer = '';
  const decoder = new TextDecoder();
  for await (const chunk of io.stdin) {
    answer += typeof chunk === 'string' ? chunk : decoder.decode(chunk, { stream: true });
    if (answer.includes('\n') || answer.length > maxAnswer) break;
  }
  if (/^y(es)?$/i.test(answer.trim())) return;
  throw new Failure(exitCodes.failed, 'declined', 'nothing was changed');
}
