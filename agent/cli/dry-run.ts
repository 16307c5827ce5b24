import type { DryRunRequest } from '../api/schema.ts';
import type { Context } from './session.ts';

/** What `--dry-run` is said to do, on every verb that has it. */
export const dryRunWords = 'only print what it would do on this host, as commands';

/** Asks for several at a time and prints all their commands. */
export async function printDryRun(context: Context, requests: readonly DryRunRequest[]): Promise<void> {
  const replies = [];
  for (const body of requests) replies.push(await context.client.call('dryRun', { body, timeoutMs: 30_000 }));
  const commands = replies.flatMap(({ Commands }) => Commands);
  const conflicts = replies.flatMap(({ Conflicts }) => Conflicts);
  context.document({ DryRun: true, Commands: commands, Conflicts: conflicts });
  if (commands.length + conflicts.length === 0) context.print('Nothing would change on this host.\n');
  context.print(commands.map((line) => `${line}\n`).join(''));
  context.print(conflicts.map((line) => `# in the way: ${line}\n`).join(''));
}
