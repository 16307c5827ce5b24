import { type Command, Option } from 'commander';
import { define } from '../define.ts';
import { duration, whole } from '../parse.ts';
import { each, type Session } from '../session.ts';
import { relative, table } from '../text.ts';
import { joinCommand } from './join-token.ts';

/** `weft token`. */
export function addToken(parent: Command, session: Session): void {
  const token = define(parent, 'token', {
    summary: 'Join tokens that are good for so long or for so many joins',
    details: `Any manager takes them. While managers are cut off from each other each counts by itself, so that more nodes than
meant may join. A rotation of the CA ends them.`,
    examples: ['weft token create --expires 1h --uses 5', 'weft token ls', 'weft token rm 3k9x0c2m1q'],
  }).helpCommand(false);
  addCreate(token, session);
  addList(token, session);
  addRemove(token, session);
}

interface CreateFlags {
  readonly role: 'worker' | 'manager';
  readonly expires?: number;
  readonly uses?: number;
  readonly quiet?: boolean;
}

function addCreate(parent: Command, session: Session): void {
  define(parent, 'create', {
    summary: 'Make a join token and show the command that uses it',
    examples: ['weft token create --expires 1h --uses 5', 'weft token create --role manager --uses 1'],
  })
    .addOption(
      new Option('--role <role>', 'role of the nodes to come').choices(['worker', 'manager']).default('worker'),
    )
    .option('--expires <duration>', 'how long it is good, such as 30m or 24h (default: for ever)', duration)
    .option('--uses <n>', 'how many nodes may join by it (default: any number)', whole(1, 1000))
    .option('-q, --quiet', 'the token alone')
    .action(
      session.action<CreateFlags>(async (context, { role, expires, uses, quiet }) => {
        const body = {
          Role: role,
          ...(expires === undefined ? {} : { ExpiresSeconds: Math.ceil(expires / 1000) }),
          ...(uses === undefined ? {} : { MaxUses: uses }),
        };
        const reply = await context.client.call('tokenCreate', { body });
        context.document(reply);
        context.print(`${quiet ? reply.Token : joinCommand(reply.Token, reply.JoinAddr)}\n`);
      }),
    );
}

function addList(parent: Command, session: Session): void {
  define(parent, 'ls', {
    summary: 'List the join tokens made with `weft token create`',
    examples: ['weft token ls'],
  })
    .alias('list')
    .action(
      session.action(async (context) => {
        const tokens = await context.client.call('tokenList');
        context.document(tokens);
        const rows = tokens.map(({ ID, Role, State, Uses, MaxUses, ExpiresAt }) => [
          ID,
          Role,
          State,
          MaxUses === 0 ? '-' : `${Uses}/${MaxUses}`,
          ExpiresAt === '' ? 'never' : relative(ExpiresAt, context.io.now()),
        ]);
        context.print(table(['ID', 'ROLE', 'STATE', 'USES', 'EXPIRES'], rows));
      }),
    );
}

function addRemove(parent: Command, session: Session): void {
  define(parent, 'rm', {
    summary: 'Revoke join tokens',
    details: 'Nodes that have joined by them stay.',
    examples: ['weft token rm 3k9x0c2m1q'],
  })
    .alias('remove')
    .argument('<token...>', 'ids, as `weft token ls` shows them')
    .action(
      session.action(async (context, _flags, refs) => {
        const removed = await each(context, refs, async (ref) => {
          await context.client.call('tokenRemove', { ref });
          context.print(`${ref}\n`);
          return ref;
        });
        context.document(removed);
      }),
    );
}
