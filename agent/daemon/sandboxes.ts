import { randomBytes } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { Cluster } from '../../controlplane/cluster.ts';
import type { Log } from '../../controlplane/environment.ts';
import { damagedState } from '../../controlplane/errors.ts';
import { type NetworkId, newEndpointId } from '../../controlplane/ids.ts';
import type { Address } from '../../controlplane/networks.ts';
import type { Store } from '../../controlplane/store.ts';
import { addressesOf } from '../../controlplane/tables/kinds.ts';
import type { Network } from '../../controlplane/tables/view.ts';
import { randomMac } from '../../dataplane/mac.ts';
import type { SandboxCreateRequest } from '../api/schema.ts';
import {
  nextIfName,
  parseSandbox,
  type StoredGatewayLeg,
  type StoredLeg,
  type StoredSandbox,
} from '../sandbox-state.ts';
import { Announcements } from './announcements.ts';
import { conflict, invalid, notFound, RequestError } from './api-error.ts';
import { type Attachment, attachmentOf, type Family, familiesOf } from './attachment.ts';
import { filesAsked } from './files-asked.ts';
import type { Gateway } from './gateway.ts';
import { inodeOf, interfacesOf, namespaceFor } from './netns.ts';
import type { SandboxFiles } from './sandbox-files.ts';

// The bridge port limit of the kernel (BR_MAX_PORTS, net/bridge/br_private.h) less the VXLAN device.
const maxSandboxes = 1023;
const applyTimeoutMs = 20_000;

/** Sandbox of the node itself, its leg on the ingress network; named as Docker's. */
export const ingressSandboxName = 'ingress-sbox';

export interface SandboxesInit {
  readonly store: Store;
  readonly gateway: Gateway;
  readonly files: Pick<SandboxFiles, 'make' | 'put' | 'drop'>;
  readonly log: Log;
  readonly cluster: () => Cluster;
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
  /** Sandboxes with a change under way; a second one waits for no one, it is refused. */
  readonly #busy = new Set<string>();
  /** Sandboxes that are being made: name and namespace are taken, the kernel is to know nothing of them yet. */
  readonly #unready = new Set<string>();

  readonly #announcements: Announcements;

  constructor(init: SandboxesInit) {
    this.#init = init;
    this.#announcements = new Announcements(init.cluster);
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
    const all = [...this.#sandboxes.values()];
    const named = all.find(({ id, name }) => id === ref || name === ref);
    if (named !== undefined) return named;
    const matches = all.filter(({ id }) => id.startsWith(ref));
    if (matches.length > 1) throw invalid(`sandbox id ${ref} is ambiguous: ${matches.length} begin with it`);
    if (matches[0] === undefined) throw notFound('sandbox', ref);
    return matches[0];
  }

  /** Makes or adopts a sandbox with an endpoint on each network; all of it or nothing. */
  async create(request: SandboxCreateRequest, networks: readonly Network[]): Promise<StoredSandbox> {
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
    if (new Set(networks.map((network) => network.id)).size < networks.length) {
      throw invalid('a network is named twice: a sandbox has at most one endpoint on each');
    }
    const attachment = attachmentOf(request);
    const wanted = attachment.wanted[4] ?? attachment.wanted[6];
    if (wanted !== null && networks.length !== 1) {
      throw invalid(`${wanted} can be the address on one network, and ${networks.length} are named`);
    }
    const bare = {
      id,
      name,
      createdMs: Date.now(),
      labels: request.Labels ?? {},
      ...filesAsked(request),
      ...namespaceFor(request, id, this.list()),
    };
    const empty: StoredSandbox = { ...bare, legs: [], gateway: null };
    this.#init.files.make(empty);
    // Reserved before the first wait: two requests at once may want the same name or namespace.
    this.#sandboxes.set(id, empty);
    this.#unready.add(id);
    return this.#exclusively(empty, () => this.#attach(empty, networks, attachment, (made) => this.#drop(made)));
  }

  async connect(sandbox: StoredSandbox, network: Network, attachment: Attachment): Promise<StoredSandbox> {
    if (sandbox.legs.some(({ networkId }) => networkId === network.id)) {
      throw conflict('already_connected', `sandbox ${sandbox.name} is already on network ${network.name}`);
    }
    return this.#exclusively(sandbox, () =>
      this.#attach(sandbox, [network], attachment, async (changed) => {
        // Gone meanwhile, when the node left its cluster.
        if (!this.#sandboxes.has(sandbox.id)) return;
        await this.#save(sandbox);
        await this.#announcements.withdraw(changed.legs.filter((leg) => !sandbox.legs.includes(leg)));
      }),
    );
  }

  async disconnect(sandbox: StoredSandbox, networkId: NetworkId): Promise<void> {
    const leg = sandbox.legs.find((each) => each.networkId === networkId);
    if (leg === undefined) throw conflict('not_connected', `sandbox ${sandbox.name} is not on that network`);
    await this.#exclusively(sandbox, async () => {
      await this.#detach(sandbox, leg);
      await this.#kernelFollows(this.#init.settled);
    });
  }

  async #detach(sandbox: StoredSandbox, leg: StoredLeg): Promise<StoredSandbox> {
    const legs = sandbox.legs.filter((each) => each !== leg);
    const { view } = this.#init.cluster();
    const external = legs.some((each) => view.networks.get(each.networkId)?.internal === false);
    const less = { ...sandbox, legs, gateway: external ? sandbox.gateway : null };
    await this.#save(less);
    await this.#announcements.withdraw([leg]);
    this.#init.changed();
    return less;
  }

  async remove(sandbox: StoredSandbox): Promise<void> {
    if (sandbox.name === ingressSandboxName) {
      throw conflict('sandbox_predefined', `${ingressSandboxName} is this node's own leg on the ingress network`);
    }
    await this.#exclusively(sandbox, async () => {
      await this.#drop(sandbox);
      await this.#kernelFollows(this.#init.settled);
    });
  }

  /** Forgets all sandboxes: the node left the cluster. */
  async clear(): Promise<void> {
    const all = this.list();
    this.#sandboxes.clear();
    await this.#init.store.commit(all.map(({ id }) => ({ key: ['sandbox', id], value: null })));
    for (const sandbox of all) this.#init.files.drop(sandbox);
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
        await this.#exclusively(sandbox, () => this.#reconcileOne(sandbox));
      } catch (error) {
        complete = false;
        this.#init.log.debug({ err: error, sandbox: sandbox.name }, 'a sandbox could not be looked at; again soon');
      }
    }
    // None while any is being changed: a request that is under way may have announced it.
    await this.#announcements.withdrawOrphans(() => (this.#busy.size > 0 ? null : this.list()));
    return complete && this.#busy.size === 0;
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

  async #exclusively<T>(sandbox: StoredSandbox, work: () => Promise<T>): Promise<T> {
    if (this.#busy.has(sandbox.id)) {
      throw conflict(
        'sandbox_busy',
        `sandbox ${sandbox.name} is being changed by another request`,
        'try again when it is done',
      );
    }
    this.#busy.add(sandbox.id);
    try {
      return await work();
    } finally {
      this.#busy.delete(sandbox.id);
    }
  }

  async #attach(
    sandbox: StoredSandbox,
    networks: readonly Network[],
    { aliases, wanted }: Attachment,
    takeBack: (changed: StoredSandbox) => Promise<void>,
  ): Promise<StoredSandbox> {
    const { cluster, gateway } = this.#init;
    const { allocator, networks: addresses, view, interests } = cluster();
    const entered: (() => void)[] = [];
    const claimed: { network: Network; family: Family; address: Address }[] = [];
    let next = sandbox;
    let saved = false;
    try {
      const taken = sandbox.adopted ? await interfacesOf(sandbox) : [];
      // What the others have there is known before anything is made there.
      for (const { id } of networks) entered.push(await interests.enter(id));
      const asked = networks.flatMap((network) => familiesOf(network, wanted).map((family) => ({ network, family })));
      const got = await Promise.allSettled(
        asked.map(({ network, family }) => addresses.allocateAddress(network, wanted[family], family)),
      );
      for (const [i, each] of asked.entries()) {
        const address = got[i];
        if (address?.status === 'fulfilled') claimed.push({ ...each, address: address.value });
      }
      const failed = got.find((each) => each.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
      for (const network of networks) {
        const ipOf = (family: Family): string | null =>
          claimed.find((each) => each.network === network && each.family === family)?.address.ip ?? null;
        const base = {
          networkId: network.id,
          endpointId: newEndpointId(),
          mac: randomMac(),
          ip: ipOf(4),
          ip6: ipOf(6),
        };
        const leg: StoredLeg = { ...base, ifName: nextIfName(next, taken), aliases, createdMs: Date.now() };
        next = { ...next, legs: [...next.legs, leg] };
      }
      if (
        next.gateway === null &&
        next.legs.some(({ networkId }) => view.networks.get(networkId)?.internal === false)
      ) {
        const ip = gateway.allocate(this.list().flatMap((each) => each.gateway?.ip ?? []));
        const leg: StoredGatewayLeg = {
          endpointId: newEndpointId(),
          ifName: nextIfName(next, taken),
          mac: randomMac(),
          ip,
        };
        next = { ...next, gateway: leg };
      }
      const legs = next.legs.filter((leg) => !sandbox.legs.includes(leg));
      saved = true;
      this.#unready.delete(next.id);
      // Side by side, so that both share a commit, and others are told before the kernel here is done: their entries are
      // ready when the first packet leaves. What a crash lets through alone, `reconcile` takes back or announces.
      const kept = Promise.all([this.#save(next), ...legs.map((leg) => this.#announcements.announce(next, leg))]);
      this.#init.changed();
      await kept;
      const parts = next.gateway === sandbox.gateway || next.gateway === null ? legs : [...legs, next.gateway];
      await this.#kernelFollows(async (signal) => {
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
      throw error;
    } finally {
      this.#unready.delete(sandbox.id);
      for (const { address } of claimed) allocator.release(address.ring, address.number, saved);
      for (const leave of entered) leave();
    }
  }

  async #kernelFollows(work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
    const limit = AbortSignal.timeout(applyTimeoutMs);
    try {
      await work(limit);
    } catch (error) {
      if (!limit.aborted) throw kernelError(error);
      throw new RequestError(
        504,
        'kernel_timeout',
        `the kernel did not follow within ${applyTimeoutMs / 1000} s`,
        '`weft status` says what is pending; the agent goes on trying',
      );
    }
  }

  async #drop(sandbox: StoredSandbox): Promise<void> {
    this.#sandboxes.delete(sandbox.id);
    await this.#init.store.commit([{ key: ['sandbox', sandbox.id], value: null }]);
    this.#init.files.drop(sandbox);
    await this.#announcements.withdraw(sandbox.legs);
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

/** What the kernel refused is for the operator to read, not a fault of the agent. */
function kernelError(error: unknown): RequestError {
  const message = error instanceof Error ? error.message : String(error);
  return new RequestError(500, 'kernel_refused', message, '`weft status` lists what fails in the kernel');
}
