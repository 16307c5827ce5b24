import { type Authority, issueCertificate, newAuthority } from '../../../controlplane/identity/authority.ts';
import { type Role, TrustAnchor } from '../../../controlplane/identity/certificates.ts';
import { type NodeKey, newNodeKey } from '../../../controlplane/identity/keys.ts';
import { Offences } from '../../../controlplane/offences.ts';
import { HybridClock } from '../../../controlplane/tables/clock.ts';
import { objectionTo } from '../../../controlplane/tables/kinds.ts';
import { Members } from '../../../controlplane/tables/members.ts';
import { Replica } from '../../../controlplane/tables/replica.ts';
import { Tables } from '../../../controlplane/tables/tables.ts';
import { View } from '../../../controlplane/tables/view.ts';
import { identityOf } from '../../sim/identities.ts';
import { VirtualTime } from '../../sim/time.ts';
import { FakeTransport, memoryStore, quietLog, virtualEnvironment } from './helpers.ts';

/** One node's tables and what hangs on them, without the rules of a whole cluster around. */
export async function makeNode(index: number, role: Role = 'worker', time = new VirtualTime()) {
  const identity = await identityOf(index, role);
  const environment = virtualEnvironment(time);
  const store = memoryStore();
  const members = new Members(() => identity.trust, store, environment);
  members.admit(identity.certificate);
  const tables = new Tables({
    ...identity,
    store,
    members,
    validate: (signed) => objectionTo(signed, members.roleOf(signed.record.owner)),
    now: () => environment.now(),
    monotonicMs: () => environment.monotonicMs(),
    log: quietLog,
  });
  await tables.load();
  const clock = new HybridClock(() => environment.now());
  const view = new View(
    tables,
    clock,
    (node) => members.roleOf(node),
    () => environment.monotonicMs(),
  );
  view.start();
  const transport = new FakeTransport();
  const offences = new Offences(() => environment.now());
  const replica = new Replica({ tables, members, transport, environment, offences, log: quietLog });
  return {
    id: identity.key.nodeId,
    ...{ identity, environment, store, members, tables, clock, view, transport, replica, offences, time },
  };
}

export type Node = Awaited<ReturnType<typeof makeNode>>;

export function connect(from: Node, to: Node): void {
  from.transport.open.set(to.id, { direction: 'outbound', address: '192.0.2.1:7946', sinceMs: 0 });
  from.members.admit(to.identity.certificate);
}

export const testClusterId = 'testcluster00000000000000';

/** A certificate authority of its own. */
export async function makeAuthority(nowMs = Date.now()): Promise<Authority & { readonly anchor: TrustAnchor }> {
  const authority = await newAuthority(testClusterId, nowMs);
  return { ...authority, anchor: new TrustAnchor(authority.certificate) };
}

export interface Party {
  readonly key: NodeKey;
  readonly certificate: Uint8Array;
}

export async function makeParty(
  authority: Authority,
  role: Role,
  { key = newNodeKey(), nowMs = Date.now() }: { key?: NodeKey; nowMs?: number } = {},
): Promise<Party> {
  return { key, certificate: await issueCertificate(authority, testClusterId, { ...key, role }, nowMs) };
}

/** The element that a test knows to be there. */
export function at<T>(list: readonly T[], index: number): T {
  const found = list[index];
  if (found === undefined) throw new Error(`there is nothing at ${index}`);
  return found;
}
