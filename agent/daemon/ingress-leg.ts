import type { Cluster } from '../../controlplane/cluster.ts';
import { ingressSandboxName } from '../ingress/legs.ts';
import { ingressIn } from '../ingress/mesh.ts';
import type { Background } from './background.ts';
import type { Logger } from './log.ts';
import type { Sandboxes } from './sandboxes/sandboxes.ts';

const againMs = 2_000;

export interface IngressLegInit {
  readonly log: Logger;
  readonly background: Background;
  readonly sandboxes: () => Sandboxes;
  /** null unless the node is a member, and to stay one. */
  readonly cluster: () => Cluster | null;
}

/** The node's own leg on the ingress network: there from init or join on, tried again until it is. */
export class IngressLeg {
  readonly #init: IngressLegInit;
  #problem: string | null = null;

  constructor(init: IngressLegInit) {
    this.#init = init;
  }

  warnings(): string[] {
    return this.#problem === null || this.#init.cluster() === null ? [] : [this.#problem];
  }

  async ensure(): Promise<void> {
    const { log, background } = this.#init;
    const cluster = this.#init.cluster();
    const sandboxes = this.#init.sandboxes();
    if (cluster === null || sandboxes.list().some(({ name }) => name === ingressSandboxName)) {
      this.#problem = null;
      return;
    }
    try {
      const ingress = ingressIn(cluster.view.networks);
      if (ingress === null) throw new Error('the ingress network is not known here yet');
      await sandboxes.create({ Name: ingressSandboxName, Networks: [] }, [{ scope: 'cluster', network: ingress }]);
      this.#problem = null;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#problem = `this node has no leg on the ingress network yet: ${message}`;
      log.warn({ err: error }, 'no leg on the ingress network yet; trying again');
      background.later(againMs, () => this.ensure());
    }
  }
}
