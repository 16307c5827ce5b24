import { setTimeout as pause } from 'node:timers/promises';
import { ZodError } from 'zod';
import type { NetworkId } from '../../controlplane/ids.ts';
import type { Network } from '../../controlplane/tables/view.ts';
import { type Deferred, deferred } from '../../dataplane/deferred.ts';
import { gatewayBridgeName } from '../../dataplane/gateway-subnet.ts';
import { issueText, toReply } from '../daemon/api-error.ts';
import type { Logger } from '../daemon/log.ts';
import type { DockerClient } from './client.ts';
import { isKilling, isTelling } from './containers.ts';
import { DockerError } from './errors.ts';
import type { UnreadableEvent } from './events.ts';
import { type Adoption, type Creation, type GatewayNetwork, mirrorPlan } from './mirror-plan.ts';
import type { DockerEvent, DockerNetwork } from './shapes.ts';
import type { MirroredNetwork } from './state.ts';

/** A Docker that is not there may come at any time; asking costs a failed connect. */
const absentMs = 1_000;
/** What was refused may go through later: a network that is in use, a name that is taken. */
const againMs = 5_000;
/** How long a container that starts waits for docker_gwbridge; then Docker makes it itself. Less than Docker waits for us. */
const bridgeMs = 20_000;

export interface MirrorInit {
  readonly client: DockerClient;
  readonly log: Logger;
  /** Those of the cluster; null outside of one. */
  readonly networks: () => readonly Network[] | null;
  /** Docker has listed these networks, and no other. */
  readonly listed: (ids: ReadonlySet<string>) => Promise<void>;
  /** Docker's networks of ours, by its ids. */
  readonly known: () => ReadonlyMap<string, MirroredNetwork>;
  /** A network that Docker made is to be removed: who waits until it is one of the cluster waits in vain. */
  readonly refused: (id: string) => Promise<void>;
  /** Makes one in the cluster like that of Docker. Rejects with why it cannot be. */
  readonly adopt: (adoption: Adoption) => Promise<unknown>;
  /** null where it is not made. */
  readonly gateway: () => GatewayNetwork | null;
  /** Docker is there (again), or something has happened to one of its containers. */
  readonly containers: () => void;
  /** A container was killed. */
  readonly killed: (event: DockerEvent) => void;
}

/** Keeps the cluster's networks in this host's Docker, by its API. */
export class Mirror {
  readonly #init: MirrorInit;
  readonly #removing = new Set<string>();
  #making: NetworkId | null = null;
  #wake: () => void = () => undefined;
  #woken = false;
  #objections: readonly string[] = [];
  #present = false;
  /** While Docker may not have docker_gwbridge, and we are about to make it. */
  #bridging: Deferred<void> | null = null;
  /** It has gone since it was last looked for. */
  #bridgeGone = false;
  /** Something was in Docker that it had not listed a moment before. */
  #wasStale = false;

  constructor(init: MirrorInit) {
    this.#init = init;
  }

  /** What Docker cannot have, one line each. */
  warnings(): readonly string[] {
    return this.#objections;
  }

  /** Whether it is we who are having Docker remove that network, and not a user of Docker. */
  isRemoving(id: string): boolean {
    return this.#removing.has(id);
  }

  /** The network of the cluster that Docker is making for us right now. */
  get making(): NetworkId | null {
    return this.#making;
  }

  /**
   * Resolves when we are not making docker_gwbridge, or after a time. Docker makes it, too, for the first container that needs
   * it, and of two that are made at once it refuses one: then that container does not start.
   */
  async bridged(): Promise<void> {
    if (this.#bridging !== null)
      await Promise.race([this.#bridging.promise, pause(bridgeMs, undefined, { ref: false })]);
  }

  /** The cluster's networks have changed. */
  wake(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { log } = this.#init;
    while (!signal.aborted) {
      try {
        await this.#whilePresent(signal);
      } catch (error) {
        if (signal.aborted) return;
        if (this.#present)
          log.info({ err: error }, 'Docker has gone; its networks are brought up to date when it is back');
        if (!(error instanceof DockerError))
          log.error({ err: error }, "following Docker's networks failed; again soon");
        this.#present = false;
        this.#objections = [];
      }
      await pause(absentMs, undefined, { signal }).catch(() => undefined);
    }
  }

  async #whilePresent(signal: AbortSignal): Promise<void> {
    const { client, log } = this.#init;
    const ended = new AbortController();
    const both = AbortSignal.any([signal, ended.signal]);
    // Listens before it lists, so that nothing falls in between.
    const events = await client.events({ signal: both, types: ['network', 'container'] });
    if (!this.#present) log.info({ socket: client.socketPath }, 'Docker is there');
    this.#present = true;
    this.#bridging ??= deferred();
    this.#init.containers();
    const followed = (async () => {
      for await (const event of events) {
        if (both.aborted) return;
        if (isOfBridge(event) && event.action === 'destroy') {
          this.#bridgeGone = true;
          this.#bridging ??= deferred();
        }
        if (event.type !== 'container') this.wake();
        if (isKilling(event)) this.#init.killed(event);
        if (isTelling(event)) this.#init.containers();
      }
    })();
    try {
      await Promise.race([followed, this.#keepUp(both)]);
    } finally {
      ended.abort();
      followed.catch(() => undefined);
      this.#bridgeDone();
    }
  }

  #bridgeDone(): void {
    this.#bridging?.resolve();
    this.#bridging = null;
  }

  async #keepUp(signal: AbortSignal): Promise<void> {
    this.#woken = true;
    while (!signal.aborted) {
      if (this.#woken) {
        this.#woken = false;
        await this.#reconcile(signal);
      }
      const waiting = new AbortController();
      this.#wake = () => waiting.abort();
      if (this.#woken) continue;
      const rest = AbortSignal.any([signal, waiting.signal]);
      const dueMs = this.#objections.length > 0 ? againMs : 60_000;
      await pause(dueMs, undefined, { signal: rest }).then(
        () => {
          this.#woken = true;
        },
        () => undefined,
      );
    }
  }

  async #reconcile(signal: AbortSignal): Promise<void> {
    const { client, log, networks, gateway, listed, known, adopt: make } = this.#init;
    this.#bridgeGone = false;
    const wanted = networks();
    const there = await client.networks({}, { signal });
    await listed(new Set(there.map(({ id }) => id)));
    const { adopt, remove, create, objections } = mirrorPlan(wanted ?? [], gateway(), there, known());
    const refused: string[] = [];
    // Somebody was quicker, Docker itself as a rule: what to do about it, the next look says.
    let stale = false;
    const isTaken = (error: DockerError, isBridge: boolean): boolean => {
      // Of a bridge that is half made, Docker 20.10 says that its subnet or device is taken.
      if (this.#wasStale || !(error.status === 409 || (isBridge && error.status === 403))) return false;
      stale = true;
      return true;
    };
    const attempt = async (
      what: string,
      work: () => Promise<unknown>,
      isNoMatter = ({ status }: DockerError): boolean => status === 404,
    ): Promise<boolean> => {
      try {
        await work();
        log.info({}, `Docker: ${what}`);
      } catch (error) {
        if (!(error instanceof DockerError) || error.code !== 'refused') throw error;
        if (isNoMatter(error)) return true;
        refused.push(error.message);
        return false;
      }
      return true;
    };
    const makeAll = async (creations: readonly Creation[]): Promise<void> => {
      for (const { of, spec } of creations) {
        if (this.#bridgeGone) return;
        this.#making = of;
        try {
          const work = () => client.createNetwork(spec, { signal });
          await attempt(`network ${spec.name} made`, work, (error) => isTaken(error, of === null));
        } finally {
          this.#making = null;
        }
      }
    };
    // First of all, also where it goes meanwhile: who waits for a network starts as soon as that is one of the cluster.
    const bridge = create.filter(({ of }) => of === null);
    if (bridge.length > 0) this.#bridging ??= deferred();
    await makeAll(bridge);
    if (!this.#bridgeGone) this.#bridgeDone();
    const adopted: DockerNetwork[] = [];
    for (const adoption of wanted === null ? [] : adopt) {
      if (this.#bridgeGone) return;
      const { network, as } = adoption;
      try {
        await make(adoption);
        log.info({}, `network ${network.name}, made in Docker, is one of the cluster`);
        if (as !== null) continue;
        adopted.push(network);
        // Its own comes in the next round, when the name is free.
        this.#woken = true;
      } catch (error) {
        refused.push(`Docker's network ${network.name} cannot be one of the cluster: ${wordsOf(error)}`);
      }
    }
    const kept = new Set<string>();
    for (const { id, name } of [...remove, ...adopted]) {
      if (this.#bridgeGone) return;
      await this.#init.refused(id);
      this.#removing.add(id);
      try {
        const isGone = await attempt(`network ${name} removed`, () => client.removeNetwork(id, { signal }));
        if (!isGone) kept.add(name);
      } finally {
        this.#removing.delete(id);
      }
    }
    await makeAll(create.filter(({ of, spec }) => of !== null && !kept.has(spec.name)));
    if (this.#bridgeGone) return;
    const all = [...objections, ...refused];
    for (const line of all) if (!this.#objections.includes(line)) log.warn({}, line);
    this.#objections = all;
    this.#wasStale = stale;
    if (stale) this.#woken = true;
  }
}

const isOfBridge = (event: DockerEvent | UnreadableEvent): event is DockerEvent =>
  event.type === 'network' && event.attributes.get('name') === gatewayBridgeName;

const wordsOf = (error: unknown): string =>
  error instanceof ZodError ? issueText(error) : toReply(error).body.message;
