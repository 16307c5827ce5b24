import { Argument, type Command } from 'commander';
import { define } from '../define.ts';
import type { Session } from '../session.ts';

interface Flags {
  readonly rotate?: boolean;
  readonly quiet?: boolean;
}

/** What to type on the node that is to join. */
export function joinCommand(token: string, address: string): string {
  return `weft join --token ${token} ${address}`;
}

/** `weft join-token`. */
export function addJoinToken(parent: Command, session: Session): void {
  define(parent, 'join-token', {
    summary: 'Show the command that adds a worker or a manager, or replace its token',
    examples: ['weft join-token worker', 'weft join-token --rotate manager', 'weft join-token -q worker'],
  })
    .addArgument(new Argument('<role>', 'role of the node to come').choices(['worker', 'manager']))
    .option('--rotate', 'replace the token; the old one is good no more')
    .option('-q, --quiet', 'the token alone')
    .action(
      session.action<Flags>(async (context, flags, [role = '']) => {
        const reply = await context.client.call(flags.rotate ? 'rotateJoinToken' : 'joinToken', { ref: role });
        context.document(reply);
        if (flags.quiet) return context.print(`${reply.Token}\n`);
        if (flags.rotate) context.print(`Successfully rotated ${role} join token.\n\n`);
        context.print(
          [
            `To add a ${role} to this cluster, run the following command:`,
            '',
            `    ${joinCommand(reply.Token, reply.JoinAddr)}`,
            '',
            '',
          ].join('\n'),
        );
      }),
    );
}
