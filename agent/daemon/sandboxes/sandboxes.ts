import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Cluster } from '../../../controlplane/cluster.ts';
import type { Log } from '../../../controlplane/environment.ts';
import { damagedState } from '../../../controlplane/errors.ts';
import type { NetworkId } from '../../../controlplane/ids.ts';
import type { Store } from '../../../controlplane/store.ts';
import { addressesOf } from '../../../controlplane/tables/kinds.ts';
import { randomMac } from '../../../dataplane/mac.ts';
import type { SandboxCreateRequest } from '../../api/schema.ts';
import { localWayOut } from '../../drivers/legs.ts';
import { ingressSandboxName } from '../../ingress/legs.ts';
import {
  nextIfName,
  parseSandbox,
  type StoredLeg,
  type StoredLocalLeg,
  type StoredSandbox,
  unusedEndpointId,
} from '../../sandbox-state.ts';
import type { AnyNetwork } from '../any-network.ts';
import { conflict, invalid } from '../api-error.ts';
import type { Gateway } from '../gateway.ts';
import { HostPorts, mustBePublishable, portsAsked, type ReservedPort } from '../host-ports.ts';
import type { LocalNetworks } from '../local-networks.ts';
import { Announcements } from './announcements.ts';
import { type Attachment, attachmentOf, withLabels } from './attachment.ts';
import { Changes } from './changes.ts';
import { filesAsked } from './files-asked.ts';
import { kernelFollows } from './kernel-follows.ts';
import { exclusiveAmong, hostBindingOf, isKeptLocally, LocalLegs, takenIn } from './local-legs.ts';
import { hostNamespace, inodeOf, isOver, namespaceFor } from './netns.ts';
import { OverlayClaims } from './overlay-claims.ts';
import type { SandboxFiles } from './sandbox-files.ts';
import { findSandbox } from './sandbox-ref.ts';

// The bridge port limit of the kernel (BR_MAX_PORTS, net/bridge/br_private.h) less the VXLAN device.
const maxSandboxes = 1023;

export interface SandboxesInit {
  readonly store: Store;
  readonly gateway: Gateway;
  readonly localNetworks: Pick<LocalNetworks, 'byId' | 'allocate' | 'release'>;
  readonly files: Pick<SandboxFiles, 'make' | 'put' | 'drop'>;
  readonly log: Log;
  readonly cluster: () => Cluster;
  /** Of this host, and of no sandbox: Docker's. */
  readonly othersLegs: () => readonly StoredLeg[];
  readonly reservedPorts: () => readonly ReservedPort[];
  /** The wanted state has changed. */
  readonly changed: () => void;
  /** Resolves when the kernel has the endpoint; rejects with why it has not. */
  readonly applied: (endpointId: string, signal: AbortSignal) => Promise<void>;
  /** Resolves when the kernel was brought to the wanted state of now, or what of it failed is known. */
  readonly settled: (signal: AbortSignal) => Promise<void>;
}

/** The sandboxes of this host: which there are, what they are attached to, and the verbs that change it. */
export class Sandboxes {
  readonly #init: SandboxesInit;
  readonly #sandboxes = new Map<string, StoredSandbox>();
  readonly #changes = new Changes();
  /** Sandboxes that are being made: name and namespace are taken, the kernel is to know nothing of them yet. */
  readonly #unready = new Set<string>();

  readonly #announcements: Announcements;
  readonly #ports: HostPorts;
  readonly #local: LocalLegs;

  constructor(init: SandboxesInit) {
    this.#init = init;
    this.#announcements = new Announcements(init.cluster);
    this.#ports = new HostPorts(init.reservedPorts);
    this.#local = new LocalLegs(init.localNetworks, init.log);
    for (const [, value] of init.store.entries(['sandbox'])) {
      const sandbox = parseSandbox(value);
      if (sandbox === null) throw damagedState('sandbox');
      this.#sandboxes.set(sandbox.id, sandbox);
    }
  }

  list(): StoredSandbox[] {
    return [...this.#sandboxes.values()].sort((a, b) => a.createdMs - b.createdMs);
  }

  /** Those whose namespace is still what it was; an adopted one may have gone with its process. */
  present(): StoredSandbox[] {
    return this.list().filter(
      ({ id, inode, netns }) => !this.#unready.has(id) && (inode === null || inodeOf(netns) === inode),
    );
  }

  /** Addresses of the endpoints on a network. */
  addressesOn(network: NetworkId): string[] {
    return this.list().flatMap(({ legs }) =>
      legs.flatMap((leg) => (leg.networkId === network ? addressesOf(leg) : [])),
    );
  }

  /** @param ref name, id or start of an id @throws RequestError */
  find(ref: string): StoredSandbox {
    return findSandbox([...this.#sandboxes.values()], ref);
  }

  /** Makes or adopts a sandbox with an endpoint on each network; all of it or nothing. */
  async create(request: SandboxCreateRequest, networks: readonly AnyNetwork[]): Promise<StoredSandbox> {
    const id = randomBytes(32).toString('hex');
    const name = request.Name ?? `sandbox-${id.slice(0, 12)}`;
    if (this.list().some((each) => each.name === name)) {
      throw conflict(
        'sandbox_exists',
        `sandbox with name ${name} already exists`,
        'choose another name, or remove that one',
      );
    }
    if (this.#sandboxes.size >= maxSandboxes) {
      throw conflict('too_many_sandboxes', `this host has ${maxSandboxes} sandboxes, as many as a bridge has ports`);
    }
    if (new Set(networks.map(({ network }) => network.id)).size < networks.length) {
      throw invalid('a network is named twice: a sandbox has at most one endpoint on each');
    }
    const attachment = attachmentOf(request);
    const wanted = attachment.wanted[4] ?? attachment.wanted[6] ?? attachment.ifName ?? attachment.mac;
    if (wanted !== null && networks.length !== 1) {
      throw invalid(`${wanted} can be of one endpoint, and ${networks.length} networks are named`);
    }
    const exclusive = exclusiveAmong(networks);
    const bare = {
      id,
      name,
      createdMs: Date.now(),
      labels: request.Labels ?? {},
      ...filesAsked(request),
      ...(exclusive === 'host' ? hostNamespace(request) : namespaceFor(request, id, this.list())),
    };
    const published = this.#ports.choose(portsAsked(request.Publish ?? [], hostBindingOf(networks)), this.list());
    mustBePublishable(published, exclusive);
    const empty: StoredSandbox = { ...bare, legs: [], gateway: null, local: [], published };
    this.#init.files.make(empty);
    // Reserved before the first wait: two requests at once may want the same name or namespace.
    this.#sandboxes.set(id, empty);
    this.#unready.add(id);
    return this.#changes.alone(empty, () => this.#attach(empty, networks, attachment, (made) => this.#drop(made)));
  }

  /** The sandbox as `connect` would make it. Takes addresses and gives them back. Throws as that does. */
  async preview(sandbox: StoredSandbox, to: AnyNetwork, attachment: Attachment): Promise<StoredSandbox> {
    this.#mustBeConnectable(sandbox, to);
    return this.#changes.alone(sandbox, async () => {
      const { next, release } = await this.#prepare(sandbox, [to], attachment);
      // They were nobody's, and need no rest.
      release(true);
      return next;
    });
  }

  #mustBeConnectable(sandbox: StoredSandbox, to: AnyNetwork): void {
    const { id, name } = to.network;
    if ([...sandbox.legs, ...sandbox.local].some(({ networkId }) => networkId === id)) {
      throw conflict('already_connected', `sandbox ${sandbox.name} is already on network ${name}`);
    }
    this.#local.refuseExclusive(sandbox, to);
  }

  /** @param labels added to those that it has; with the endpoint, or not at all */
  async connect(
    sandbox: StoredSandbox,
    to: AnyNetwork,
    attachment: Attachment,
    labels: StoredSandbox['labels'] = {},
  ): Promise<StoredSandbox> {
    this.#mustBeConnectable(sandbox, to);
    return this.#changes.alone(sandbox, () =>
      this.#attach(withLabels(sandbox, labels), [to], attachment, async (changed) => {
        // Gone meanwhile, when the node left its cluster.
        if (!this.#sandboxes.has(sandbox.id)) return;
        await this.#save(sandbox);
        await this.#announcements.withdraw(changed.legs.filter((leg) => !sandbox.legs.includes(leg)));
      }),
    );
  }

  async disconnect(sandbox: StoredSandbox, from: AnyNetwork): Promise<void> {
    const leg = sandbox.legs.find(({ networkId }) => networkId === from.network.id);
    const local = sandbox.local.find(({ networkId }) => networkId === from.network.id);
    if (leg === undefined && local === undefined) {
      throw conflict('not_connected', `sandbox ${sandbox.name} is not on that network`);
    }
    this.#local.refuseExclusive(sandbox, from);
    await this.#changes.alone(sandbox, async () => {
      await this.#detach(sandbox, leg ?? local);
      await this.#afterKernel(local === undefined ? [] : [local]);
    });
  }

  /** Has drivers let go of legs that no sandbox has any more, also if the kernel does not follow: nothing names them later. */
  async #afterKernel(legs: readonly StoredLocalLeg[]): Promise<void> {
    try {
      await kernelFollows(this.#init.settled);
    } finally {
      await this.#local.detach(legs);
    }
  }

  async #detach(sandbox: StoredSandbox, leg: StoredLeg | StoredLocalLeg | undefined): Promise<StoredSandbox> {
    const legs = sandbox.legs.filter((each) => each !== leg);
    const local = sandbox.local.filter((each) => each !== leg);
    const less = this.#withGateway({ ...sandbox, legs, local }, await takenIn(sandbox));
    await this.#save(less);
    await this.#announcements.withdraw(sandbox.legs.filter((each) => each === leg));
    await this.#local.publish(sandbox, less);
    this.#init.changed();
    return less;
  }

  /**
   * With a port on docker_gwbridge if one of its networks asks for it, as those of the cluster that lead out do, and none of
   * this host alone leads out.
   * @param prefix of its interface's name, where it is to be in the way of nobody who chooses names. @default eth
   */
  #withGateway(sandbox: StoredSandbox, taken: readonly string[], prefix?: string): StoredSandbox {
    const networks = sandbox.legs.length === 0 ? null : this.#init.cluster().view.networks;
    const external = sandbox.legs.some(({ networkId }) => networks?.get(networkId)?.internal === false);
    if (!external && !(this.#init.gateway.address !== null && this.#local.wantGateway(sandbox)))
      return { ...sandbox, gateway: null };
    if (sandbox.gateway !== null || localWayOut(sandbox, this.#init.localNetworks.byId) !== null) return sandbox;
    const ip = this.#init.gateway.allocate(this.list().flatMap((each) => each.gateway?.ip ?? []));
    const ifName = nextIfName(sandbox, taken, prefix);
    return {
      ...sandbox,
      gateway: { endpointId: unusedEndpointId([...this.list(), sandbox]), ifName, mac: randomMac(), ip },
    };
  }

  async remove(sandbox: StoredSandbox): Promise<void> {
    if (sandbox.name === ingressSandboxName) {
      throw conflict('sandbox_predefined', `${ingressSandboxName} is this node's own leg on the ingress network`);
    }
    await this.#changes.alone(sandbox, async () => {
      // What is in the namespace and nowhere else is taken out while it is known that it is ours; it may not be ours to remove.
      if (sandbox.local.length > 0) {
        await this.#save({ ...sandbox, local: [] });
        this.#init.changed();
        await this.#afterKernel(sandbox.local);
      }
      await this.#drop({ ...sandbox, local: [] });
      await kernelFollows(this.#init.settled);
    });
  }

  /** The node left the cluster: forgets all sandboxes but those that networks of this host keep, and what these had of it. */
  async leaveCluster(): Promise<void> {
    const all = this.list();
    const [kept, gone] = [all.filter(isKeptLocally), all.filter((sandbox) => !isKeptLocally(sandbox))];
    for (const { id } of gone) this.#sandboxes.delete(id);
    await this.#init.store.commit(gone.map(({ id }) => ({ key: ['sandbox', id], value: null })));
    for (const sandbox of gone) this.#init.files.drop(sandbox);
    for (const sandbox of kept) {
      const less = { ...sandbox, legs: [], gateway: null };
      await this.#save(less);
      // Who publishes ports for it may be another now; one that fails keeps nobody in a cluster.
      await this.#local.publish(sandbox, less).catch((error: unknown) => {
        this.#init.log.warn({ err: error, sandbox: sandbox.name }, 'publishing ports by another network');
      });
    }
    this.#init.changed();
  }

  /** Has the files of all sandboxes say what they should: at start, and when what the host says has changed. */
  async putFiles(): Promise<void> {
    for (const { id } of this.list()) {
      // Gone meanwhile, or on other networks.
      const sandbox = this.#sandboxes.get(id);
      if (sandbox !== undefined) this.#init.files.put(sandbox);
      await setImmediate();
    }
  }

  /**
   * Takes sandboxes off networks that are gone, announces endpoints that the tables lack, and takes back those that no
   * sandbox has: what a crash between the two left behind.
   * @returns false when something was being changed or failed: to be done again
   */
  async reconcile(): Promise<boolean> {
    let complete = true;
    for (const sandbox of this.list()) {
      try {
        await this.#changes.alone(sandbox, () => this.#reconcileOne(sandbox));
      } catch (error) {
        complete = false;
        this.#init.log.debug({ err: error, sandbox: sandbox.name }, 'a sandbox could not be looked at; again soon');
      }
    }
    // None while any is being changed: a request that is under way may have announced it.
    await this.#announcements.withdrawOrphans(() =>
      this.#changes.count > 0 ? null : [...this.list().flatMap(({ legs }) => legs), ...this.#init.othersLegs()],
    );
    return complete && this.#changes.count === 0;
  }

  /** Removes the sandboxes of containers that are gone with their namespaces, where their runtime did not. */
  async removeOver(): Promise<void> {
    for (const sandbox of this.list()) {
      try {
        if (isOver(sandbox) && this.#sandboxes.has(sandbox.id)) await this.remove(sandbox);
      } catch (error) {
        this.#init.log.debug({ err: error, sandbox: sandbox.name }, 'a sandbox that is over stays for now');
      }
    }
  }

  async #reconcileOne(sandbox: StoredSandbox): Promise<void> {
    const { view } = this.#init.cluster();
    let current = this.#sandboxes.get(sandbox.id) ?? sandbox;
    for (const leg of current.legs) {
      if (view.networks.has(leg.networkId)) {
        if (!this.#announcements.has(leg)) await this.#announcements.announce(current, leg);
      } else {
        current = await this.#detach(current, leg);
      }
    }
  }

  async #attach(
    sandbox: StoredSandbox,
    networks: readonly AnyNetwork[],
    attachment: Attachment,
    takeBack: (changed: StoredSandbox) => Promise<void>,
  ): Promise<StoredSandbox> {
    let saved = false;
    let next = sandbox;
    let release: (kept: boolean) => void = () => undefined;
    try {
      ({ next, release } = await this.#prepare(sandbox, networks, attachment));
      await this.#local.publish(sandbox, next);
      const legs = next.legs.filter((leg) => !sandbox.legs.includes(leg));
      saved = true;
      this.#unready.delete(next.id);
      // Side by side, so that both share a commit, and others are told before the kernel here is done: their entries are
      // ready when the first packet leaves. What a crash lets through alone, `reconcile` takes back or announces.
      const kept = Promise.all([this.#save(next), ...legs.map((leg) => this.#announcements.announce(next, leg))]);
      this.#init.changed();
      await kept;
      const local = next.local.filter((leg) => !sandbox.local.includes(leg) && leg.ifName !== null);
      const own = next.gateway === sandbox.gateway || next.gateway === null ? [] : [next.gateway];
      const parts = [...legs, ...local, ...own];
      await kernelFollows(async (signal) => {
        await Promise.all(parts.map(({ endpointId }) => this.#init.applied(endpointId, signal)));
        // A sandbox without networks is its namespace only.
        if (parts.length === 0) await this.#init.settled(signal);
      });
      return next;
    } catch (error) {
      try {
        await takeBack(next);
      } catch (again) {
        this.#init.log.warn(
          { err: again, sandbox: sandbox.name },
          'taking back a change failed; it is reconciled later',
        );
      }
      this.#init.changed();
      await this.#local.detach(next.local.filter((leg) => !sandbox.local.includes(leg)));
      throw error;
    } finally {
      this.#unready.delete(sandbox.id);
      release(saved);
    }
  }

  /**
   * The sandbox as it is to be on these networks too, with addresses that are reserved until `release` says whether they
   * are kept.
   */
  async #prepare(
    sandbox: StoredSandbox,
    networks: readonly AnyNetwork[],
    attachment: Attachment,
  ): Promise<{ next: StoredSandbox; release: (kept: boolean) => void }> {
    const ofCluster = networks.flatMap((each) => (each.scope === 'cluster' ? [each.network] : []));
    const ofHost = networks.flatMap((each) => (each.scope === 'local' ? [each.network] : []));
    let next = sandbox;
    const claims = ofCluster.length > 0 ? new OverlayClaims(this.#init.cluster()) : null;
    const release = (kept: boolean): void => {
      claims?.release(kept);
      this.#local.release(next);
    };
    try {
      const taken = await takenIn(sandbox);
      if (claims) {
        await claims.take(ofCluster, attachment.wanted);
        next = claims.attach(next, taken, attachment, this.list());
      }
      for (const network of ofHost) next = await this.#local.attach(next, network, taken, attachment, this.list());
      next = this.#withGateway(next, taken, attachment.ifName === null ? undefined : 'gw');
      this.#local.mustLeadOut(next);
      return { next, release };
    } catch (error) {
      // What somebody else has made for it already.
      await this.#local.detach(next.local.filter((leg) => !sandbox.local.includes(leg)));
      release(false);
      throw error;
    }
  }

  async #drop(sandbox: StoredSandbox): Promise<void> {
    this.#sandboxes.delete(sandbox.id);
    // Others hear of it while the disk writes: what a crash leaves on it is announced again.
    const told = this.#announcements.withdraw(sandbox.legs);
    await Promise.all([this.#init.store.commit([{ key: ['sandbox', sandbox.id], value: null }]), told]);
    this.#init.files.drop(sandbox);
    this.#init.changed();
  }

  async #save(sandbox: StoredSandbox): Promise<void> {
    const before = this.#sandboxes.get(sandbox.id);
    this.#sandboxes.set(sandbox.id, sandbox);
    try {
      await this.#init.store.commit([{ key: ['sandbox', sandbox.id], value: sandbox }]);
    } catch (error) {
      if (before === undefined) this.#sandboxes.delete(sandbox.id);
      else this.#sandboxes.set(sandbox.id, before);
      throw error;
    }
    this.#init.files.put(sandbox);
  }
}
