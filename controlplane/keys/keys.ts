import { type Environment, jittered, type Log } from '../environment.ts';
import { ControlPlaneError } from '../errors.ts';
import type { Role } from '../identity/certificates.ts';
import { type Credentials, meshKeyDigest } from '../identity/credentials.ts';
import type { NodeId } from '../ids.ts';
import { type HostPort, parseHostPort } from '../mesh/address.ts';
import type { Requests, Transport } from '../mesh/transport.ts';
import type { HybridClock } from '../tables/clock.ts';
import type { HoldingValue } from '../tables/kinds.ts';
import type { Members } from '../tables/members.ts';
import { clusterTopic } from '../tables/record.ts';
import type { Tables } from '../tables/tables.ts';
import type { View } from '../tables/view.ts';
import type { DoorCall } from './door.ts';
import { Issuer } from './issuer.ts';
import { MeshKeys } from './mesh-keys.ts';
import { Renewal } from './renewal.ts';
import { Roots } from './roots.ts';

// Managers look whether a rotation can be finished, each at its own pace: the first one says it for all.
const managePeriodMs = 2_000;

export interface KeysInit {
  readonly credentials: Credentials;
  readonly members: Members;
  readonly tables: Tables;
  readonly view: View;
  readonly clock: HybridClock;
  readonly transport: Requests & Pick<Transport, 'connections'>;
  readonly environment: Environment;
  readonly log: Log;
  /** Which role a member's next certificate gives it. */
  readonly wantedRole: (nodeId: NodeId) => Role | null;
  readonly askDoors: ((call: DoorCall) => Promise<Uint8Array>) | null;
}

/** Certificates, roots and mesh keys of a member: renewed and changed while it runs. */
export class Keys {
  readonly issuer: Issuer;
  readonly renewal: Renewal;
  readonly roots: Roots;
  readonly meshKeys: MeshKeys;
  /** Seals the join tokens with the key of the current root; set on managers. */
  sealTokens: () => Promise<void> = async () => {};
  readonly #init: KeysInit;
  #cancel: () => void = () => {};
  #following: Promise<void> = Promise.resolve();
  #followQueued = false;
  #stopped = false;
  /** Since when no other node is connected, although managers are known; by a clock that does not jump. */
  #aloneSinceMs: number | null = null;

  constructor(init: KeysInit) {
    const { credentials, members, view, transport, environment, log, wantedRole } = init;
    this.#init = init;
    this.issuer = new Issuer({ credentials, members, view, environment, log, wantedRole });
    const { issuer } = this;
    this.renewal = new Renewal({
      ...{ credentials, members, issuer, transport, environment, log, wantedRole },
      managers: () => this.#managers(),
      nodeCount: () => view.nodes.size,
      askDoor: init.askDoors === null ? null : (request, signal) => this.#askDoors(request, signal),
      aloneMs: () => (this.#aloneSinceMs === null ? 0 : environment.monotonicMs() - this.#aloneSinceMs),
    });
    this.roots = new Roots({ ...init, issuer, sealTokens: () => this.sealTokens() });
    this.meshKeys = new MeshKeys({ ...init, isManager: () => this.#isManager });
  }

  /** To be called when the tables are loaded. */
  start(): void {
    this.#init.credentials.watch(() => this.follow());
    this.renewal.start();
    this.#scheduleManaging();
    this.follow();
  }

  /** Ends all of it; what is being written is written when it resolves. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    this.renewal.stop();
    this.meshKeys.stop();
    await this.#following;
  }

  /** How long certificates last that are made from now on. @throws ControlPlaneError `not_manager` */
  async setCertExpiry(certExpiryMs: number): Promise<void> {
    const { view, tables, clock } = this.#init;
    if (!this.#isManager || view.cluster === null) {
      throw new ControlPlaneError(
        'not_manager',
        'only a manager can change how long certificates last',
        'run the command on a manager: `weft node ls` shows which nodes are',
      );
    }
    const stamp = clock.next(view.cluster.stamp);
    await tables.put(clusterTopic, 'cluster', { ...view.cluster, certExpiryMs, stamp: [...stamp] });
  }

  /** Something of certificates, roots or keys may have changed in the tables or here. */
  follow(): void {
    if (this.#followQueued || this.#stopped) return;
    this.#followQueued = true;
    this.#following = this.#following
      .then(() => {
        this.#followQueued = false;
        return this.#follow();
      })
      .catch((error: unknown) => {
        if (!this.#stopped) this.#init.log.error({ err: error }, 'following a change of keys failed');
      });
  }

  async #follow(): Promise<void> {
    if (this.#stopped) return;
    const { tables, credentials } = this.#init;
    await this.roots.follow();
    await this.meshKeys.follow();
    const { certificate, networkKeys } = credentials.identity;
    const [meshKey] = networkKeys;
    const held = tables.own(clusterTopic, 'keys')?.record.value as HoldingValue | undefined;
    const value = { certificate, meshKey: meshKeyDigest(meshKey ?? Buffer.alloc(0)) };
    if (!this.#stopped && (held === undefined || !sameHolding(held, value)))
      await tables.put(clusterTopic, 'keys', value);
    this.renewal.wake();
  }

  get #isManager(): boolean {
    return this.#init.credentials.identity.role === 'manager';
  }

  /** The way back for who is shut out of the mesh. */
  async #askDoors(request: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const { credentials, environment } = this.#init;
    const { identity } = credentials;
    const call = { managers: this.#doors(), identity, request, nowMs: environment.now(), signal };
    return this.#init.askDoors?.(call) ?? Promise.reject(new Error('no join port can be asked'));
  }

  /** Join ports of the other managers. */
  #doors(): HostPort[] {
    const { view, members, credentials } = this.#init;
    return [...view.nodes].flatMap(([id, { join }]) => {
      const address = join === undefined || id === credentials.identity.key.nodeId ? null : parseHostPort(join);
      return address === null || members.certifiedRoleOf(id) !== 'manager' ? [] : [address];
    });
  }

  /** Managers other than this node: those that are connected first, each half in an order of chance. */
  #managers(): NodeId[] {
    const { view, members, transport, environment, credentials } = this.#init;
    const open = transport.connections();
    return [...view.nodes.keys()]
      .filter(
        (id) => id !== credentials.identity.key.nodeId && members.roleOf(id) === 'manager' && transport.canReach(id),
      )
      .map((id) => ({ id, order: environment.random() - (open.has(id) ? 1 : 0) }))
      .sort((a, b) => a.order - b.order)
      .map(({ id }) => id);
  }

  #scheduleManaging(): void {
    if (this.#stopped) return;
    this.#cancel = this.#init.environment.timer(jittered(this.#init.environment, managePeriodMs), () => {
      this.#manage()
        .catch((error: unknown) => this.#init.log.warn({ err: error }, 'a rotation of keys cannot go on yet'))
        .finally(() => this.#scheduleManaging());
    });
  }

  /** Looks at the mesh, and at what the tables ask a manager to do, whichever of them comes first. */
  async #manage(): Promise<void> {
    const { transport, environment } = this.#init;
    const alone = transport.connections().size === 0 && this.#doors().length > 0;
    this.#aloneSinceMs = alone ? (this.#aloneSinceMs ?? environment.monotonicMs()) : null;
    this.renewal.wake();
    if (!this.#isManager) return;
    const { roots, meshKeys } = this;
    if (roots.canFinish) await roots.finish();
    if (meshKeys.canFinish) await meshKeys.finish();
    if (meshKeys.isWanted) await meshKeys.rotate(true);
  }
}

const sameHolding = (a: HoldingValue, b: HoldingValue): boolean =>
  Buffer.from(a.certificate).equals(b.certificate) && Buffer.from(a.meshKey).equals(b.meshKey);
