import { setTimeout as pause } from 'node:timers/promises';
import { ZodError } from 'zod';
import type { NetworkId } from '../../controlplane/ids.ts';
import type { Network } from '../../controlplane/tables/view.ts';
import { issueText, toReply } from '../daemon/api-error.ts';
import type { Logger } from '../daemon/log.ts';
import type { DockerClient } from './client.ts';
import { isKilling, isTelling } from './containers.ts';
import { DockerError } from './errors.ts';
import { type Adoption, type GatewayNetwork, mirrorPlan } from './mirror-plan.ts';
import type { DockerEvent, DockerNetwork } from './shapes.ts';
import type { MirroredNetwork } from './state.ts';

/** A Docker that is not there may come at any time; asking costs a failed connect. */
const absentMs = 1_000;
/** What was refused may go through later: a network that is in use, a name that is taken. */
const againMs = 5_000;

export interface MirrorInit {
  readonly client: DockerClient;
  readonly log: Logger;
  /** Those of the cluster; null outside of one. */
  readonly networks: () => readonly Network[] | null;
  /** Docker has listed these networks, and no other. */
  readonly listed: (ids: ReadonlySet<string>) => Promise<void>;
  /** Docker's networks of ours, by its ids. */
  readonly known: () => ReadonlyMap<string, MirroredNetwork>;
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
    this.#init.containers();
    const followed = (async () => {
      for await (const event of events) {
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
    }
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
    const wanted = networks();
    const there = await client.networks({}, { signal });
    await listed(new Set(there.map(({ id }) => id)));
    const { adopt, remove, create, objections } = mirrorPlan(wanted ?? [], gateway(), there, known());
    const refused: string[] = [];
    const attempt = async (what: string, work: () => Promise<unknown>): Promise<boolean> => {
      try {
        await work();
        log.info({}, `Docker: ${what}`);
      } catch (error) {
        if (!(error instanceof DockerError) || error.code !== 'refused') throw error;
        if (error.status === 404) return true;
        refused.push(error.message);
        return false;
      }
      return true;
    };
    const adopted: DockerNetwork[] = [];
    for (const adoption of wanted === null ? [] : adopt) {
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
      this.#removing.add(id);
      try {
        const isGone = await attempt(`network ${name} removed`, () => client.removeNetwork(id, { signal }));
        if (!isGone) kept.add(name);
      } finally {
        this.#removing.delete(id);
      }
    }
    for (const { of, spec } of create) {
      if (kept.has(spec.name)) continue;
      this.#making = of;
      try {
        await attempt(`network ${spec.name} made`, () => client.createNetwork(spec, { signal }));
      } finally {
        this.#making = null;
      }
    }
    const all = [...objections, ...refused];
    for (const line of all) if (!this.#objections.includes(line)) log.warn({}, line);
    this.#objections = all;
  }
}

const wordsOf = (error: unknown): string =>
  error instanceof ZodError ? issueText(error) : toReply(error).body.message;
