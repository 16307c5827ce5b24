import type { Command } from 'commander';
import type { Status } from '../../api/schema.ts';
import { define } from '../define.ts';
import type { Session } from '../session.ts';
import { count, duration, elapsed, fields, relative, section, table } from '../text.ts';

/** `weft status`. */
export function addStatus(parent: Command, session: Session): void {
  define(parent, 'status', {
    summary: 'Show the state of this node, its peers and its kernel',
    examples: ['weft status', "weft status --json | jq '.Kernel.Failed'"],
  }).action(
    session.action(async (context) => {
      const status = await context.client.call('status');
      context.document(status);
      context.print(render(status, context.io.now()));
    }),
  );
}

function render(status: Status, nowMs: number): string {
  return [
    fields([...node(status, nowMs), ...(status.NodeID === '' ? [] : cluster(status, nowMs)), ...kernel(status)]),
    peers(status, nowMs),
    section('Not in the kernel', [
      ...status.Kernel.Failed.map(
        ({ Object: object, Why: why, RetryAt: at }) => `${object}: ${why} (again ${relative(at, nowMs)})`,
      ),
      ...status.Kernel.Waiting.map(({ Object: object, Why: why }) => `${object}: ${why}`),
    ]),
    offenders(status, nowMs),
    section('Clocks', clocks(status)),
    section('Warnings', status.Warnings),
    status.State === 'inactive' ? '\nThis node is in no cluster: `weft init` makes one, `weft join` joins one.\n' : '',
  ].join('');
}

type Field = readonly [string, string];

function node(status: Status, nowMs: number): Field[] {
  const up = duration(nowMs - Date.parse(status.StartedAt)).toLowerCase();
  return [
    ['Node', status.NodeID === '' ? status.Hostname : `${status.Hostname} (${status.NodeID})`],
    ['State', status.Role === '' ? status.State : `${status.State}, ${status.Role}`],
    ['Agent', `version ${status.Version}, up ${up}`],
  ];
}

function cluster(status: Status, nowMs: number): Field[] {
  const { Local: local, Remote: remote } = status.Endpoints;
  return [
    ['Cluster', status.ClusterID],
    ...certificate(status, nowMs),
    ['Join at', status.JoinAddr === '' ? '-' : status.JoinAddr],
    ['Gossip at', status.GossipAddrs.join(', ')],
    ['VTEP', `${status.DataPathAddr}, UDP port ${status.DataPathPort}`],
    ['Nodes', `${status.Nodes}, of them ${count(status.Managers, 'manager')}`],
    ['Networks', String(status.Networks)],
    ['Sandboxes', `${status.Sandboxes} here`],
    ['Endpoints', `${local} here, ${remote} on other nodes`],
    ...propagation(status),
  ];
}

/** How long records took from their owners' writing to the tables here. */
function propagation({ Propagation: { Buckets: buckets, Count: total, MaxMs: maxMs } }: Status): Field[] {
  if (total === 0) return [];
  const within = (share: number): string => {
    const bucket = buckets.find(({ Count: upTo }) => upTo >= total * share);
    // Where a bucket is the last one that anything is in, the longest of all says more than its end.
    return elapsed(Math.min(bucket?.LeMs ?? maxMs, maxMs));
  };
  const spread = `p50 ≤ ${within(0.5)}, p99 ≤ ${within(0.99)}, max ${elapsed(maxMs)}`;
  return [['Lag', `${spread}, of ${count(total, 'record')}`]];
}

function certificate({ Certificate: own }: Status, nowMs: number): Field[] {
  if (own === null) return [];
  const { NotAfter: ends, RenewAt: renewed } = own;
  const late = Date.parse(ends) <= nowMs;
  return [
    ['Certificate', `${late ? 'ended' : 'ends'} ${relative(ends, nowMs)}, to be renewed ${relative(renewed, nowMs)}`],
  ];
}

function kernel({ Kernel: state, GatewayBridge: bridge }: Status): Field[] {
  const parts = [
    state.State,
    ...(state.Pending > 0 ? [`${state.Pending} pending`] : []),
    ...(state.Failed.length > 0 ? [`${state.Failed.length} failed`] : []),
    ...(state.Repairs > 0 ? [`${count(state.Repairs, 'repair')} since start`] : []),
  ];
  return [
    ['Kernel', parts.join(', ')],
    ['Gateway', bridge === null ? '-' : `${bridge.Name}, ${bridge.Subnet}`],
  ];
}

function offenders({ Offenders: all }: Status, nowMs: number): string {
  if (all.length === 0) return '';
  const rows = all.map((each) => [each.Hostname, each.What, String(each.Count), relative(each.Last, nowMs)]);
  return `\n${table(['OFFENDER', 'WHAT', 'COUNT', 'LAST'], rows)}`;
}

/** Those of other nodes that are more than a second off: a person can do something about them. */
function clocks({ Propagation: { Clocks: all } }: Status): string[] {
  const off = all.filter(({ OffsetMs: offset }) => Math.abs(offset) > 1000);
  return off.map(
    ({ Hostname: name, OffsetMs: offset }) =>
      `${name} is ${elapsed(Math.abs(offset))} ${offset > 0 ? 'ahead of' : 'behind'} this node`,
  );
}

function peers({ Peers: all }: Status, nowMs: number): string {
  if (all.length === 0) return '';
  const rows = all.map((peer) => [
    peer.Hostname,
    peer.StatusMessage === '' ? peer.Status : `${peer.Status} (${peer.StatusMessage})`,
    relative(peer.StatusSince, nowMs),
    peer.State === 'connected' ? peer.Direction : peer.State,
    peer.State === 'none' ? '' : duration(nowMs - Date.parse(peer.Since)),
    peer.Address,
    peer.RTTMilliseconds === null ? '' : `${peer.RTTMilliseconds.toFixed(1)} ms`,
    peer.PathMTU === null ? '' : String(peer.PathMTU),
    peer.State === 'connected' ? '' : relative(peer.NextRetry, nowMs),
    peer.LastError === '' ? '' : `${peer.LastError} (${relative(peer.LastErrorAt, nowMs)})`,
  ]);
  const header = [
    'PEER',
    'STATUS',
    'SINCE',
    'CONNECTION',
    'FOR',
    'ADDRESS',
    'RTT',
    'PATH MTU',
    'NEXT TRY',
    'LAST ERROR',
  ];
  return `\n${table(header, rows)}`;
}
