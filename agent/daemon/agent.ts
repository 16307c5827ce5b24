import { systemEnvironment } from '../../controlplane/environment.ts';
import { type ControlPlaneError, ControlPlaneError as Refused } from '../../controlplane/errors.ts';
import type { Vault } from '../../controlplane/identity/vault.ts';
import {
  defaultCertExpiryMs,
  defaultDataPathPort,
  defaultPools,
  defaultSubnetBits,
  forgetCluster,
  initCluster,
  joinCluster,
  leaveCluster,
  type Membership,
  type MembershipInit,
  resume,
} from '../../controlplane/membership.ts';
import { parseHostPort } from '../../controlplane/mesh/address.ts';
import type { Store } from '../../controlplane/store.ts';
import { gatePrefix6 } from '../../controlplane/ula.ts';
import { cleanUp } from '../../dataplane/cleanup.ts';
import { DataPlane } from '../../dataplane/dataplane.ts';
import { deferred } from '../../dataplane/deferred.ts';
import type { Desired } from '../../dataplane/desired.ts';
import { hostPortName } from '../../dataplane/names.ts';
import { leftToUser } from '../../dataplane/nft/user.ts';
import { HostProbe } from '../../dataplane/path/probe.ts';
import type { InitRequest, JoinRequest } from '../api/schema.ts';
import { Docker } from '../docker/docker.ts';
import type { LocalNetwork } from '../drivers/local-network.ts';
import { ingressSandboxName } from '../ingress/legs.ts';
import { mtuUntilMeasured } from '../mtu.ts';
import type { StoredLeg, StoredSandbox } from '../sandbox-state.ts';
import { version } from '../version.ts';
import { addressingAt, addressingFrom, addressingNow, type Given, ownAddressing } from './addressing.ts';
import { nameHeld, prefixesInUse } from './any-network.ts';
import { conflict, invalid, RequestError } from './api-error.ts';
import { Background } from './background.ts';
import { creationOf } from './calls/network-handlers.ts';
import type { AgentConfig } from './config.ts';
import { Gateway, gatewayNetwork } from './gateway.ts';
import { portsOfNode, type ReservedPort } from './host-ports.ts';
import { HostResolverFollower, hostPaths } from './host-resolver.ts';
import { HostWatch } from './host-watch.ts';
import { LocalNetworks } from './local-networks.ts';
import type { Logger } from './log.ts';
import { askersOf, NameService } from './name-service.ts';
import { NetworkMtus } from './network-mtus.ts';
import { type PlanChange, Planner } from './planner.ts';
import { RoutingMesh } from './routing-mesh.ts';
import { isKeptLocally } from './sandboxes/local-legs.ts';
import { fileRoots, SandboxFiles } from './sandboxes/sandbox-files.ts';
import { Sandboxes } from './sandboxes/sandboxes.ts';
import { SelfTests } from './self-tests.ts';

/** A pass over 100,000 endpoints takes about that. */
const firstPassMs = 1_000;
const joinPortDefault = 2377;
const watchHostMs = 10_000;
const reconcileAgainMs = 1_000;
// Of leaving: the node is out of the cluster by then, and what the kernel refuses is said in its log.
const farewellMs = 20_000;

export type AgentState = 'inactive' | 'joining' | 'active' | 'leaving';

/**
 * The agent: holds the membership, the sandboxes and the data plane together. Every event, from whatever side, only
 * wakes the planner, which hands the data plane the whole wanted state.
 */
export class Agent {
  readonly readConfig: () => AgentConfig;
  #config: AgentConfig;
  readonly startedMs = Date.now();
  readonly sandboxes: Sandboxes;
  readonly docker: Docker;
  readonly files: SandboxFiles;
  readonly gateway: Gateway;
  readonly localNetworks: LocalNetworks;
  readonly dataPlane: DataPlane;
  readonly #planner: Planner;
  readonly #hostProbe: HostProbe;
  readonly mtus: NetworkMtus;
  readonly selfTests: SelfTests;
  readonly names: NameService;
  readonly #hostResolver: HostResolverFollower;
  readonly #log: Logger;
  readonly #store: Store;
  readonly #vault: Vault;
  readonly #stop = new AbortController();
  readonly #background: Background;
  readonly #host: HostWatch;
  readonly mesh: RoutingMesh;
  #state: AgentState = 'inactive';
  #becoming: Promise<unknown> = Promise.resolve();
  #membership: Membership | null = null;
  /** Why the node is not in the state its operator wants, for `weft status`. */
  readonly #warnings = new Map<string, string>();

  constructor(init: { config: AgentConfig; readConfig: () => AgentConfig; log: Logger; store: Store; vault: Vault }) {
    this.#config = init.config;
    this.readConfig = init.readConfig;
    this.#log = init.log;
    this.#store = init.store;
    this.#vault = init.vault;
    this.gateway = new Gateway(init.store, init.config.gatewaySubnet);
    this.dataPlane = new DataPlane({ log: init.log, runDir: init.config.runDir, drift: init.config.drift });
    this.#hostProbe = new HostProbe(init.log);
    this.mtus = new NetworkMtus({
      hostProbe: this.#hostProbe,
      log: init.log,
      gossipPort: init.config.gossipPort,
      intervalMs: init.config.mtuProbeMs,
      changed: () => this.#planner.wake(),
    });
    this.selfTests = new SelfTests({
      log: init.log,
      sandboxes: () => this.sandboxes.present(),
      mtuOf: (network) =>
        this.mtus.of(network)?.mtu ??
        mtuUntilMeasured(network, this.#host.underlayMtu, this.membership.cluster.identity.vtep),
      changed: () => this.#planner.wake(),
    });
    this.files = new SandboxFiles({
      roots: fileRoots(init.config.runDir),
      defaults: init.config.resolver,
      own: () => this.names.address,
      log: init.log,
    });
    this.#hostResolver = new HostResolverFollower({
      paths: hostPaths,
      log: init.log,
      changed: (found) => {
        this.files.host = found;
        this.names.follow(found, this.#config.resolver);
        this.#background.later(0, () => this.sandboxes.putFiles());
      },
    });
    this.#background = new Background(init.log);
    this.names = new NameService({
      log: init.log,
      background: this.#background,
      bridge: () => this.gateway.address,
      askers: () => {
        const { asking } = this.docker;
        const onGateway = [...askersOf(this.sandboxes.list()), ...asking.onGateway()];
        return { onGateway, beside: asking.beside(), isBehind: asking.isBehind };
      },
      findAsker: (address) => this.docker.asking.identify(address),
      changed: () => this.#background.later(0, () => this.sandboxes.putFiles()),
    });
    this.#host = new HostWatch({
      log: init.log,
      member: () => this.#membership?.cluster.identity ?? null,
      bridges: () => this.#planner.desired.bridges.map(({ name }) => name),
      devices6: () =>
        this.#planner.desired.sandboxes.flatMap(({ hostLeg }) => (hostLeg ? [hostPortName(hostLeg.endpointId)] : [])),
      device: (name, mtu) => this.mtus.setDevice(name, mtu),
      changed: () => this.#planner.wake(),
    });
    this.mesh = new RoutingMesh({
      log: init.log,
      background: this.#background,
      cluster: () => (this.#state === 'active' ? (this.#membership?.cluster ?? null) : null),
      sandboxes: () => this.sandboxes,
      docker: () => this.docker,
      reserved: () => this.#reservedPorts(),
      changed: () => this.#planner.wake(),
      applied: (signal) => this.dataPlane.settled(undefined, signal),
    });
    this.#planner = new Planner({
      dataPlane: this.dataPlane,
      log: init.log,
      cluster: () => this.#membership?.cluster ?? null,
      attachments: () => ({
        sandboxes: this.sandboxes.present(),
        handed: this.docker.endpoints.handed(),
        gateway: this.gateway.address,
        gatePrefix6: this.#membership && gatePrefix6(this.#membership.cluster.identity.clusterId),
        localNetworks: this.localNetworks.list(),
        underlayMtu: this.#host.underlayMtu,
        mtus: this.mtus.mtus(this.#legs().map(({ networkId }) => networkId)),
        softwareChecksums: this.selfTests.softwareChecksums,
        heldPorts: this.mesh.heldPorts,
      }),
      planned: (desired) => this.mesh.planned(desired),
    });
    this.localNetworks = new LocalNetworks({
      store: init.store,
      nameHeld: (name) => nameHeld(this, name),
      inUse: (network) => prefixesInUse(this, network),
      changed: () => this.#planner.wake(),
    });
    const kernel = {
      changed: () => {
        this.names.askersChanged();
        this.#planner.wake();
      },
      applied: async (endpointId: string, signal: AbortSignal) => {
        this.#planner.planIfDue();
        await this.dataPlane.whenApplied(endpointId, signal);
      },
      settled: async (signal: AbortSignal) => {
        this.#planner.planIfDue();
        await this.dataPlane.settled(undefined, signal);
      },
    };
    this.docker = new Docker({
      store: init.store,
      log: init.log,
      socketPath: init.config.dockerSocket,
      cluster: () => this.membership.cluster,
      active: () => this.#membership?.cluster ?? null,
      create: async (request, id) => {
        const creation = creationOf(this, request);
        if (creation.scope !== 'cluster') return;
        await this.membership.cluster.networks.create({ ...creation.spec, ...(id === null ? {} : { id }) });
      },
      gateway: () => (this.gateway.address === null ? null : gatewayNetwork(this.gateway.address)),
      askersChanged: () => {
        this.names.askersChanged();
        this.mesh.wake();
      },
      ...kernel,
    });
    this.sandboxes = new Sandboxes({
      store: init.store,
      gateway: this.gateway,
      localNetworks: this.localNetworks,
      files: this.files,
      log: init.log,
      cluster: () => this.membership.cluster,
      reservedPorts: () => this.#reservedPorts(),
      othersLegs: () => this.docker.endpoints.list().map(({ leg }) => leg),
      ...kernel,
    });
  }

  get config(): AgentConfig {
    return this.#config;
  }

  /** Goes on with what of another configuration does not need a start. */
  takeOver({ resolver, drift, logLevel }: AgentConfig): void {
    this.#config = { ...this.#config, resolver, drift, logLevel };
    this.#log.level = logLevel;
    this.dataPlane.driftMode = drift;
    this.files.defaults = resolver;
    this.names.follow(this.files.host, resolver);
    this.#background.later(0, () => this.sandboxes.putFiles());
  }

  #reservedPorts(): ReservedPort[] {
    return portsOfNode(this.config, this.active?.cluster.view.cluster?.dataPathPort ?? defaultDataPathPort);
  }

  #legs(): StoredLeg[] {
    return [
      ...this.sandboxes.list().flatMap(({ legs }) => legs),
      ...this.docker.endpoints.list().map(({ leg }) => leg),
    ];
  }

  get state(): AgentState {
    return this.#state;
  }

  get active(): Membership | null {
    return this.#membership;
  }

  /** @throws RequestError `not_active` before init or join */
  get membership(): Membership {
    if (this.#state === 'leaving') {
      throw conflict('leaving', 'this node is leaving its cluster', 'wait until it has: `weft status`');
    }
    if (this.#membership === null) {
      throw new RequestError(
        503,
        'not_active',
        'this node is not part of a cluster',
        'run `weft init` to make one, or `weft join` to join one',
      );
    }
    return this.#membership;
  }

  /** Bytes, of the device that carries the VTEP. */
  get underlayMtu(): number {
    return this.#host.underlayMtu;
  }

  warnings(): string[] {
    const { problem } = this.#hostResolver;
    const ofFiles = problem === '' ? this.files.warnings() : [problem, ...this.files.warnings()];
    return [
      ...this.#warnings.values(),
      ...this.#host.warnings(),
      ...this.#planner.objections,
      ...this.docker.warnings(),
      ...this.mesh.warnings(),
      ...ofFiles,
      ...this.names.warnings(),
      ...this.mtus.warnings(),
      ...this.selfTests.warnings(),
    ];
  }

  /** Goes on where the last run stopped; the kernel is adopted, not made again. */
  async start(): Promise<void> {
    this.dataPlane.start(this.#stop.signal);
    this.files.sweep(this.sandboxes.list());
    this.#hostResolver.start();
    await this.#host.look();
    const membership = await resume(this.#membershipInit(), (stored) =>
      addressingNow(stored, this.#configured, this.config.gossipPort),
    );
    if (membership === null) this.#planner.planNow();
    else {
      await this.#activate(membership);
      this.#background.later(0, () => this.#kernelFirst(membership));
      this.#background.later(0, () => this.mesh.ensureLeg());
    }
    // Now that it is known which bridges are wanted.
    await this.#host.lookAtForwarding();
    // Now that it is known whether there is a cluster: else its networks would be taken out of Docker.
    this.#background.later(0, () => this.docker.follow(this.#stop.signal));
    const lookMs = Math.min(watchHostMs, this.config.mtuProbeMs);
    this.#background.every(lookMs, () => this.#host.look());
    this.mesh.start(() => this.#planner.plannedMesh);
    this.#background.later(0, () => this.#removeOver());
  }

  /** What forwards is brought up to date from the tables before the others are asked what is new, unless that takes long. */
  async #kernelFirst(membership: Membership): Promise<void> {
    await this.firstPass();
    if (this.#membership === membership && this.#state === 'active') membership.reach();
  }

  /** Resolves when the kernel is as was wanted at the start, as far as it can be, or that takes longer than usual. */
  firstPass(): Promise<void> {
    return this.dataPlane.settled(undefined, AbortSignal.timeout(firstPassMs)).catch(() => undefined);
  }

  /** Ends the agent; forwarding goes on. */
  async stop(): Promise<void> {
    this.#background.stop();
    this.docker.stop();
    this.#hostResolver[Symbol.dispose]();
    this.names[Symbol.dispose]();
    this.mtus.stop();
    this.selfTests.stop();
    // A join that is under way has a mesh that nobody else would end.
    await this.#becoming;
    await this.#membership?.stop();
    this.#stop.abort();
    await this.dataPlane[Symbol.asyncDispose]();
  }

  async init(request: InitRequest): Promise<Membership> {
    const addressing = await ownAddressing(this.#given(request), this.config.gossipPort);
    const settings = {
      pools: request.DefaultAddrPool ?? defaultPools,
      subnetBits: request.SubnetSize ?? defaultSubnetBits,
      dataPathPort: request.DataPathPort ?? defaultDataPathPort,
      certExpiryMs: request.NodeCertExpiryMs ?? defaultCertExpiryMs,
      ipv6: request.EnableIPv6 ?? false,
    };
    return this.#become(() => initCluster(this.#membershipInit(), addressing, settings), request);
  }

  async join(request: JoinRequest): Promise<Membership> {
    const managers = request.RemoteAddrs.map((text) => {
      const parsed = parseHostPort(text, joinPortDefault);
      if (parsed === null) throw invalid(`${text} is not HOST or HOST:PORT`, 'such as 192.0.2.10:2377');
      return parsed;
    });
    const { gossipPort } = this.config;
    // Checked before anything is asked of a manager; without one, the address that reached the manager is ours.
    const given = this.#given(request);
    if (given.AdvertiseAddr !== undefined) addressingAt(given, '', gossipPort);
    return this.#become(
      () =>
        joinCluster(this.#membershipInit(), managers, request.JoinToken, (local) =>
          addressingFrom(given, local, gossipPort),
        ),
      request,
    );
  }

  get #configured(): Given {
    return { AdvertiseAddr: this.config.advertiseAddr, DataPathAddr: this.config.dataPathAddr };
  }

  /** What the command says, and for the rest the configuration. */
  #given({ AdvertiseAddr, DataPathAddr }: Given): Given {
    const configured = this.#configured;
    return {
      AdvertiseAddr: AdvertiseAddr ?? configured.AdvertiseAddr,
      DataPathAddr: DataPathAddr ?? configured.DataPathAddr,
    };
  }

  /** What would be wanted of the kernel if tables and attachments were others. */
  previewOf(change: PlanChange): Desired {
    return this.#planner.preview(change);
  }

  /** @throws RequestError `not_active`, `sandboxes_attached` */
  mustBeLeavable(force: boolean): void {
    if (this.membership === null) return;
    // Those on networks of this host alone lose nothing by it.
    const attached = this.sandboxes
      .list()
      .filter((sandbox) => sandbox.name !== ingressSandboxName && (sandbox.legs.length > 0 || !isKeptLocally(sandbox)));
    if (attached.length > 0 && !force) {
      throw conflict(
        'sandboxes_attached',
        `${attached.length} sandboxes on this node would lose their networks: ${named(attached)}`,
        'remove them first (`weft sandbox rm`), or use --force',
      );
    }
  }

  async leave(force: boolean): Promise<string[]> {
    this.mustBeLeavable(force);
    const { membership } = this;
    this.#state = 'leaving';
    try {
      await leaveCluster(membership, this.#store, force);
    } catch (error) {
      this.#state = 'active';
      throw error;
    }
    await this.#deactivate();
    // Where networks of this host alone are left they need it still.
    return this.#planner.desired.bridges.length > 0 ? [] : await leftToUser();
  }

  /** What the kernel of this host still lacks, in one line; '' for nothing. */
  pending(): string {
    return this.#planner.pending();
  }

  /** Those on a network of this host. */
  sandboxesOn({ id }: LocalNetwork): StoredSandbox[] {
    return this.sandboxes.list().filter(({ local }) => local.some(({ networkId }) => networkId === id));
  }

  /** @throws RequestError `network_in_use`, `network_predefined` */
  async removeLocalNetwork(network: LocalNetwork): Promise<void> {
    await this.localNetworks.remove(network, this.sandboxesOn(network).length);
    this.#planner.planIfDue();
    await this.dataPlane.settled(undefined, AbortSignal.timeout(farewellMs));
  }

  async #become(
    make: () => Promise<Membership>,
    { GatewaySubnet = null }: { readonly GatewaySubnet?: string | null | undefined },
  ): Promise<Membership> {
    if (this.#state !== 'inactive') {
      throw conflict(
        'already_member',
        'this node is already part of a cluster',
        'run `weft leave` first to make or join another one',
      );
    }
    this.#state = 'joining';
    const { promise, resolve } = deferred<void>();
    this.#becoming = promise;
    try {
      await this.#host.lookAtRoutes();
      await this.gateway.choose(GatewaySubnet);
      const membership = await make();
      await this.#activate(membership);
      await this.mesh.ensureLeg();
      return membership;
    } catch (error) {
      if (this.#membership === null) {
        this.#state = 'inactive';
        await this.gateway.forget();
      }
      throw listenError(error) ?? error;
    } finally {
      resolve();
    }
  }

  async #activate(membership: Membership): Promise<void> {
    this.#membership = membership;
    this.#state = 'active';
    await this.gateway.choose();
    await this.#host.look();
    await this.mtus.start(membership.cluster);
    this.selfTests.start(membership.cluster);
    this.names.start(membership.cluster);
    const { view, liveness } = membership.cluster;
    liveness.watch(() => this.#planner.heardOfLiveness());
    view.watch((touched) => {
      this.#planner.heard(touched);
      if (touched.networks) this.docker.wake();
      this.mesh.heard(touched, membership.cluster.self, () => this.#planner.mesh);
      if (touched.networks) this.#background.later(0, () => this.#reconcile());
    });
    this.#planner.planNow();
    this.docker.wake();
    this.mesh.wake();
    await this.#reconcile();
  }

  async #removeOver(): Promise<void> {
    // Joining or leaving, the cluster's tables are not there to take endpoints from.
    if (this.#state === 'active' || this.#state === 'inactive') await this.sandboxes.removeOver();
    this.#background.later(watchHostMs, () => this.#removeOver());
  }

  async #reconcile(): Promise<void> {
    if (this.#state !== 'active') return;
    await this.docker.endpoints.reconcile();
    if (!(await this.sandboxes.reconcile())) this.#background.later(reconcileAgainMs, () => this.#reconcile());
  }

  async #deactivate(): Promise<void> {
    this.#membership = null;
    this.mtus.stop();
    this.selfTests.stop();
    this.names.stop();
    this.#warnings.clear();
    await this.docker.forget();
    await this.sandboxes.leaveCluster();
    await this.gateway.forget();
    this.#planner.planNow();
    try {
      await this.dataPlane.settled(undefined, AbortSignal.timeout(farewellMs));
      // What is ours by name and in no plan any more: the netns of the overlays, and forwarding if we switched it on.
      await cleanUp({ log: this.#log, runDir: this.config.runDir, keep: this.#planner.desired });
      this.files.sweep(this.sandboxes.list());
      // So that the data plane does not go by what it knew.
      await this.dataPlane.sweep(AbortSignal.timeout(farewellMs));
    } catch (error) {
      this.#log.error({ err: error }, 'the kernel could not be cleared; `weft status` says what is left');
    }
    this.#state = 'inactive';
  }

  #membershipInit(): MembershipInit {
    return {
      store: this.#store,
      vault: this.#vault,
      environment: systemEnvironment,
      log: this.#log,
      hostname: this.config.hostname,
      version,
      listenHost: this.config.listenHost,
      gossipPort: this.config.gossipPort,
      joinPort: this.config.joinPort,
      pending: () => this.pending(),
      avoid: () => this.#host.prefixes,
      saying: (network) => this.mtus.saying(network),
      held: (network) => [...this.sandboxes.addressesOn(network), ...this.docker.endpoints.addressesOn(network)],
      hostAnswers: (vtep, timeoutMs) => this.#hostProbe.answers(vtep, timeoutMs),
      onRemoved: () => this.#background.later(0, () => this.#removed()),
    };
  }

  /** A manager removed this node while it was running. */
  async #removed(): Promise<void> {
    const membership = this.#membership;
    if (membership === null || this.#state === 'leaving') return;
    this.#log.warn({}, 'this node was removed from the cluster by a manager; leaving');
    this.#state = 'leaving';
    await forgetCluster(membership, this.#store);
    await this.#deactivate();
    this.#warnings.set(
      'removed',
      'this node was removed from its cluster by a manager: `weft join` makes it a member again',
    );
  }
}

/** The first few by name. */
function named(sandboxes: readonly { name: string }[]): string {
  const names = sandboxes.slice(0, 5).map(({ name }) => name);
  return names.join(', ') + (sandboxes.length > names.length ? ', …' : '');
}

/** Ports that are taken are the operator's to free: Swarm uses the same numbers. */
function listenError(error: unknown): ControlPlaneError | null {
  const text = error instanceof Error ? error.message : '';
  if (!text.includes('EADDRINUSE')) return null;
  return new Refused(
    'port_in_use',
    `cannot listen: ${text}`,
    'another program (Docker Swarm uses 2377 and 7946 too) has the port; set gossip-port or join-port in the config file',
    error,
  );
}
