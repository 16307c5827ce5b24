import type { Command } from 'commander';
import type { DriftReply } from '../../api/schema.ts';
import { define } from '../define.ts';
import type { Session } from '../session.ts';
import { count, oneLine, relative, table } from '../text.ts';

interface Flags {
  readonly fix?: boolean;
}

/** `weft drift`. */
export function addDrift(parent: Command, session: Session): void {
  define(parent, 'drift', {
    summary: 'List what in the kernel of this host is not as it should be',
    details: `Lists the kernel now. By itself the agent repairs what others change, unless it is configured with
\`drift: observe\`. What is foreign is not ours, and is never touched.`,
    examples: ['weft drift', 'weft drift --fix', "weft drift --json | jq '.Items[].Object'"],
  })
    .option('--fix', 'repair it first, and list what is left')
    .action(
      session.action<Flags>(async (context, { fix }) => {
        const reply = await context.client.call(fix ? 'driftFix' : 'drift');
        context.document(reply);
        if (fix && reply.Repaired > 0) context.print(`Repaired with ${count(reply.Repaired, 'step')}.\n`);
        context.print(render(reply, context.io.now()));
      }),
    );
}

function render({ Items: items, More: more }: DriftReply, nowMs: number): string {
  if (items.length === 0) return 'No drift.\n';
  const rows = items.map((item) => [item.Object, oneLine(words(item)), relative(item.Since, nowMs)]);
  return table(['OBJECT', 'WHAT', 'SINCE'], rows) + (more > 0 ? `… and ${more} more\n` : '');
}

/** `missing`; `extra: address 10.0.0.9/24 is extra`. */
function words({ What: what, Why: why }: DriftReply['Items'][number]): string {
  return what === why ? what : `${what}: ${why}`;
}
