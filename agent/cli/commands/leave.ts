import type { Command } from 'commander';
import { define } from '../define.ts';
import { dryRunWords, printDryRun } from '../dry-run.ts';
import type { Session } from '../session.ts';
import { membershipMs } from './addressing.ts';
import { isSetUp } from './docker.ts';

const stillSetUp = `weft: Docker's containers are still told to ask the agent for names, which answers none from now on
take it out: \`weft docker setup --undo && systemctl restart docker\`
`;

/** `weft leave`. */
export function addLeave(parent: Command, session: Session): void {
  define(parent, 'leave', {
    summary: 'Leave the cluster and remove its networks from this host',
    examples: ['weft leave', 'weft leave --dry-run', 'weft leave --force'],
  })
    .option('-f, --force', 'also with sandboxes left, or as the last manager')
    .option('--dry-run', dryRunWords)
    .action(
      session.action<{ force?: boolean; dryRun?: boolean }>(async (context, flags) => {
        const body = { Force: flags.force ?? false };
        if (flags.dryRun) return printDryRun(context, [{ Verb: 'leave', Request: body }]);
        const reply = await context.progress(
          'Leaving the cluster',
          context.client.call('leave', { body, timeoutMs: membershipMs }),
        );
        context.document(reply);
        context.print(`${['Node left the cluster.', ...reply.Left].join('\n')}\n`);
        if (!context.json && (await isSetUp())) context.io.stderr.write(stillSetUp);
      }),
    );
}
