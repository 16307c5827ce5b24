import { type Command, Option } from 'commander';
import type { Availability, Node } from '../../api/schema.ts';
import { define } from '../define.ts';
import { dryRunWords, printDryRun } from '../dry-run.ts';
import { usage } from '../failure.ts';
import { collect, label } from '../parse.ts';
import { type Context, each, type Session, writeJson } from '../session.ts';
import { shortNodeId, table } from '../text.ts';
import { membershipMs } from './addressing.ts';

/** `weft node`. */
export function addNode(parent: Command, session: Session): void {
  const node = define(parent, 'node', {
    summary: 'Look at the nodes of the cluster, change the role of one, drain it, label it, or remove it',
    examples: ['weft node ls', 'weft node promote host2', 'weft node drain host3', 'weft node rm host3'],
  }).helpCommand(false);
  addList(node, session);
  addInspect(node, session);
  addPromote(node, session);
  addDemote(node, session);
  addDrain(node, session);
  addActivate(node, session);
  addUpdate(node, session);
  addRemove(node, session);
}

function addList(parent: Command, session: Session): void {
  define(parent, 'ls', {
    summary: 'List the nodes',
    details: `An asterisk marks this node. Down (agent down): its host answers, and sandboxes there are still reached. MANAGER
STATUS is empty for workers; Promoted: the node is to be a manager and has no certificate for it yet.`,
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
    node.StatusMessage === '' ? status[node.Status] : `${status[node.Status]} (${node.StatusMessage})`,
    availability[node.Availability],
    managerStatus[node.ManagerStatus],
    node.DataPathAddr,
    String(node.Endpoints ?? '-'),
    node.EngineVersion,
  ]);
  return table(['ID', 'HOSTNAME', 'STATUS', 'AVAILABILITY', 'MANAGER STATUS', 'VTEP', 'ENDPOINTS', 'VERSION'], rows);
}

const status = { ready: 'Ready', down: 'Down', unknown: 'Unknown' } as const;
const availability = { active: 'Active', drain: 'Drain' } as const;
const managerStatus = { '': '', reachable: 'Reachable', unreachable: 'Unreachable', promoted: 'Promoted' } as const;

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

function addPromote(parent: Command, session: Session): void {
  define(parent, 'promote', {
    summary: 'Make managers of workers',
    details: 'Each gets a certificate and the CA key from a manager by itself, and then takes joins.',
    examples: ['weft node promote host2', 'weft node promote host2 host3'],
  })
    .argument('<node...>', 'hostnames, ids or starts of ids')
    .action(session.action(async (context, _flags, refs) => setRole(context, refs, 'manager')));
}

function addDemote(parent: Command, session: Session): void {
  define(parent, 'demote', {
    summary: 'Make workers of managers',
    details: `From then on no node takes a manager's word from them. A host that is no longer trusted had the CA key: remove it,
and rotate the CA.`,
    examples: ['weft node demote host2'],
  })
    .argument('<node...>', 'hostnames, ids or starts of ids')
    .action(session.action(async (context, _flags, refs) => setRole(context, refs, 'worker')));
}

function addDrain(parent: Command, session: Session): void {
  define(parent, 'drain', {
    summary: 'Have published ports lead no new connections to endpoints on nodes',
    details: 'Running connections go on, names still lead there, and nothing is stopped.',
    examples: ['weft node drain host2', 'weft node drain host2 && weft service inspect web'],
  })
    .argument('<node...>', 'hostnames, ids or starts of ids')
    .action(session.action(async (context, _flags, refs) => setAvailability(context, refs, 'drain')));
}

function addActivate(parent: Command, session: Session): void {
  define(parent, 'activate', {
    summary: 'Have published ports lead new connections to endpoints on nodes again',
    examples: ['weft node activate host2'],
  })
    .argument('<node...>', 'hostnames, ids or starts of ids')
    .action(session.action(async (context, _flags, refs) => setAvailability(context, refs, 'active')));
}

interface UpdateFlags {
  readonly role?: 'worker' | 'manager';
  readonly availability?: Availability;
  readonly labelAdd?: Record<string, string>;
  readonly labelRm?: string[];
  readonly dryRun?: boolean;
}

function addUpdate(parent: Command, session: Session): void {
  define(parent, 'update', {
    summary: 'Change a node',
    details: `Labels are for all to see: zone is what \`weft publish --prefer zone\` goes by, and with weft.publish=allow the labels of
containers on a worker can publish ports of the cluster.`,
    examples: [
      'weft node update --role manager host2',
      'weft node update --availability drain host2',
      'weft node update --label-add zone=a --label-rm rack host2',
    ],
  })
    .argument('<node>', 'hostname, id or start of an id')
    .addOption(new Option('--role <role>', 'what the node is to be').choices(['worker', 'manager']))
    .addOption(
      new Option('--availability <availability>', 'whether published ports lead new connections to it').choices([
        'active',
        'drain',
      ]),
    )
    .option('--label-add <key=value>', 'label to set (repeatable)', label)
    .option('--label-rm <key>', 'label to take away (repeatable)', collect)
    .option('--dry-run', dryRunWords)
    .action(
      session.action<UpdateFlags>(async (context, { role, availability: wanted, dryRun, ...labels }, refs) => {
        const relabelled = labels.labelAdd !== undefined || labels.labelRm !== undefined;
        if (role === undefined && wanted === undefined && !relabelled)
          throw usage('say what to change: --role, --availability, --label-add or --label-rm');
        if (dryRun) return previewUpdate(context, refs, { role, availability: wanted, ...labels });
        const changed = [
          ...(relabelled ? await labelsOf(context, refs, labels) : []),
          ...(wanted === undefined ? [] : await availabilityOf(context, refs, wanted)),
          ...(role === undefined ? [] : await roleOf(context, refs, role)),
        ];
        context.document(changed);
      }),
    );
}

const labelsAsked = ({ labelAdd, labelRm }: Pick<UpdateFlags, 'labelAdd' | 'labelRm'>) => ({
  ...(labelAdd === undefined ? {} : { LabelsAdd: labelAdd }),
  ...(labelRm === undefined ? {} : { LabelsRemove: labelRm }),
});

async function previewUpdate(
  context: Context,
  refs: readonly string[],
  {
    role,
    availability: wanted,
    ...labels
  }: Pick<UpdateFlags, 'labelAdd' | 'labelRm'> & {
    role: UpdateFlags['role'] | undefined;
    availability: UpdateFlags['availability'] | undefined;
  },
): Promise<void> {
  if (role !== undefined) throw usage('what a change of role would do cannot be told without doing it');
  const Request = { ...(wanted === undefined ? {} : { Availability: wanted }), ...labelsAsked(labels) };
  await printDryRun(
    context,
    refs.map((Node) => ({ Verb: 'nodeUpdate', Node, Request })),
  );
}

async function labelsOf(context: Context, refs: readonly string[], labels: Pick<UpdateFlags, 'labelAdd' | 'labelRm'>) {
  return each(context, refs, async (ref) => {
    const { Changed } = await context.client.call('nodeUpdate', { ref, body: labelsAsked(labels) });
    context.print(Changed ? `Labels of node ${ref} changed.\n` : `Node ${ref} has these labels already.\n`);
    return { Node: ref, Labels: { Add: labels.labelAdd ?? {}, Remove: labels.labelRm ?? [] }, Changed };
  });
}

async function setAvailability(context: Context, refs: readonly string[], wanted: Availability): Promise<void> {
  context.document(await availabilityOf(context, refs, wanted));
}

async function availabilityOf(context: Context, refs: readonly string[], wanted: Availability) {
  return each(context, refs, async (ref) => {
    const { Changed } = await context.client.call('nodeUpdate', { ref, body: { Availability: wanted } });
    const what = wanted === 'drain' ? 'drained' : 'active';
    if (!Changed) context.print(`Node ${ref} is already ${what}.\n`);
    else if (wanted === 'drain')
      context.print(`Node ${ref} drained: running connections go on, new ones go elsewhere.\n`);
    else context.print(`Node ${ref} active: new connections are led to it again.\n`);
    return { Node: ref, Availability: wanted, Changed };
  });
}

async function setRole(context: Context, refs: readonly string[], role: 'worker' | 'manager'): Promise<void> {
  context.document(await roleOf(context, refs, role));
}

async function roleOf(context: Context, refs: readonly string[], role: 'worker' | 'manager') {
  return each(context, refs, async (ref) => {
    const { Changed } = await context.client.call('nodeUpdate', { ref, body: { Role: role }, timeoutMs: membershipMs });
    if (!Changed) context.print(`Node ${ref} is already a ${role}.\n`);
    else if (role === 'manager') context.print(`Node ${ref} promoted to a manager in the cluster.\n`);
    else context.print(`Manager ${ref} demoted in the cluster.\n`);
    return { Node: ref, Role: role, Changed };
  });
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
