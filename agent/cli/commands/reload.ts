import type { Command } from 'commander';
import { define } from '../define.ts';
import type { Session } from '../session.ts';
import { table } from '../text.ts';

/** `weft reload`. */
export function addReload(parent: Command, session: Session): void {
  define(parent, 'reload', {
    summary: 'Have the agent read its configuration again',
    details:
      'What a running agent cannot change (ports, addresses, directories) is taken at its next start. A configuration that' +
      ' cannot be used changes nothing. `systemctl reload weft` and SIGHUP do the same.',
    examples: ['weft reload --dry-run', 'weft reload'],
  })
    .option('--dry-run', 'only print what would change, and the commands')
    .action(
      session.action<{ dryRun?: boolean }>(async (context, { dryRun = false }) => {
        const reply = await context.client.call('reload', { body: { DryRun: dryRun }, timeoutMs: 30_000 });
        context.document(reply);
        if (reply.Changed.length === 0) {
          context.print('The configuration is as it was.\n');
          return;
        }
        const rows = reply.Changed.map(({ Key, From, To, Live }) => [
          Key,
          From,
          To,
          Live ? 'now' : 'at the next start',
        ]);
        context.print(table(['KEY', 'FROM', 'TO', 'TAKES EFFECT'], rows));
        if (dryRun) context.print(reply.Commands.map((line) => `${line}\n`).join(''));
      }),
    );
}
