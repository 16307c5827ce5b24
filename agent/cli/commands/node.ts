import type { Command } from 'commander';
import type { Node } from '../../api/schema.ts';
import { define } from '../define.ts';
import { type Context, each, type Session, writeJson } from '../session.ts';
import { shortNodeId, table } from '../text.ts';

/** `weft node`. */
export function addNode(parent: Command, session: Session): void {
  const node = define(parent, 'node', {
    summary: 'Look at the nodes of the cluster, or remove one',
    examples: ['weft node ls', 'weft node rm host3'],
  }).helpCommand(false);
  addList(node, session);
  addInspect(node, session);
  addRemove(node, session);
}

function addList(parent: Command, session: Session): void {
  define(parent, 'ls', {
    summary: 'List the nodes',
    details: 'An asterisk marks this node.',
    examples: ['weft node ls', 'weft node ls -q'],
  })
    .alias('list')
    .option('-q, --quiet', 'ids alone')
    .option('--no-trunc', 'whole ids')
    .action(
      session.action<{ quiet?: boolean; trunc: boolean }>(async (context, flags) => {
        const nodes = await context.client.call('nodeList');
        context.document(nodes);
        // As Docker's: the ids of a quiet list are whole.
        if (flags.quiet) return context.print(nodes.map((node) => `${node.ID}\n`).join(''));
        context.print(render(nodes, flags.trunc));
      }),
    );
}

function render(nodes: readonly Node[], trunc: boolean): string {
  const rows = nodes.map((node) => [
    `${trunc ? shortNodeId(node.ID) : node.ID}${node.Self ? ' *' : ''}`,
    node.Hostname,
    node.Status === 'ready' ? 'Ready' : 'Down',
    node.Role,
    node.DataPathAddr,
    String(node.Endpoints ?? '-'),
    node.EngineVersion,
  ]);
  return table(['ID', 'HOSTNAME', 'STATUS', 'ROLE', 'VTEP', 'ENDPOINTS', 'VERSION'], rows);
}

function addInspect(parent: Command, session: Session): void {
  define(parent, 'inspect', {
    summary: 'Show all that is known of nodes, as a JSON array',
    details: '`self` is this node.',
    examples: ['weft node inspect self', 'weft node inspect host2 host3'],
  })
    .argument('<node...>', 'hostnames, ids or starts of ids')
    .action(
      session.action(async (context, _flags, refs) => {
        const inspect = async (ref: string) =>
          context.client.call('nodeInspect', { ref: ref === 'self' ? await ownId(context) : ref });
        writeJson(context.io.stdout, await each(context, refs, inspect));
      }),
    );
}

async function ownId({ client }: Context): Promise<string> {
  const { NodeID: id } = await client.call('status');
  return id === '' ? 'self' : id;
}

function addRemove(parent: Command, session: Session): void {
  define(parent, 'rm', {
    summary: 'Remove nodes that are down from the cluster',
    details: 'A node that is up leaves by `weft leave`.',
    examples: ['weft node rm host3', 'weft node rm --force host3'],
  })
    .alias('remove')
    .argument('<node...>', 'hostnames, ids or starts of ids')
    .option('-f, --force', 'also a node that is up')
    .action(
      session.action<{ force?: boolean }>(async (context, flags, refs) => {
        const removed = await each(context, refs, async (ref) => {
          await context.client.call('nodeRemove', { ref, query: { force: flags.force ? 'true' : undefined } });
          context.print(`${ref}\n`);
          return ref;
        });
        context.document(removed);
      }),
    );
}
