import type { Command } from 'commander';
import type { WaitReply } from '../../api/schema.ts';
import { define } from '../define.ts';
import { exitCodes, Failure } from '../failure.ts';
import { once, seconds } from '../parse.ts';
import type { Session } from '../session.ts';
import { count, elapsed } from '../text.ts';

interface Flags {
  readonly network?: string;
  readonly timeout: number;
}

// The agent keeps the time; the client gives it this much more to say so.
const graceMs = 5_000;

/** `weft wait`. */
export function addWait(parent: Command, session: Session): void {
  define(parent, 'wait', {
    summary: 'Wait until all live nodes have the same tables, and have them in their kernels',
    details:
      'Exits with 4, and names the nodes that lag and what they lack, when that takes longer than the time limit. Nodes that are suspended are named, and not waited for.',
    examples: ['weft wait --converged', 'weft wait --converged --network frontend --timeout 10'],
  })
    .requiredOption('--converged', 'what to wait for')
    .option('--network <network>', 'only what concerns this network', once)
    .option('--timeout <seconds>', 'time limit', seconds, 30)
    .action(
      session.action<Flags>(async (context, { network, timeout }) => {
        const reply = await context.progress(
          'Waiting for the cluster to converge',
          context.client.call('wait', {
            body: { Network: network, TimeoutSeconds: timeout },
            timeoutMs: timeout * 1000 + graceMs,
          }),
        );
        context.document(reply);
        if (!reply.Converged) throw lagging(reply);
        const asked = reply.Nodes.filter(({ Suspended: suspended }) => !suspended);
        context.print(
          `Converged after ${elapsed(reply.ElapsedMs)} on ${count(asked.length, 'node')}${notAsked(reply)}.\n`,
        );
      }),
    );
}

function lagging({ ElapsedMs: elapsedMs, Nodes: nodes }: WaitReply): Failure {
  const late = nodes.filter(({ Lag: lag }) => lag !== '').map((node) => `${node.Hostname} (${node.Lag})`);
  const who = late.length > 0 ? `: ${late.join(', ')}` : '';
  const rest = notAsked({ Nodes: nodes });
  return new Failure(exitCodes.timedOut, 'not_converged', `not converged after ${elapsed(elapsedMs)}${who}${rest}`);
}

function notAsked({ Nodes: nodes }: Pick<WaitReply, 'Nodes'>): string {
  const suspended = nodes.filter((node) => node.Suspended).map(({ Hostname: hostname }) => hostname);
  return suspended.length > 0 ? `; suspended, and not waited for: ${suspended.join(', ')}` : '';
}
