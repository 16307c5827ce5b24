import type { Cluster } from '../../controlplane/cluster.ts';
import type { NodeId } from '../../controlplane/ids.ts';
import type { Touched } from '../../controlplane/tables/view.ts';
import type { Desired } from '../../dataplane/desired.ts';
import { type Counted, countsOfGate } from '../../dataplane/gate-counts.ts';
import { parseNetnsPath } from '../../dataplane/values.ts';
import type { Docker } from '../docker/docker.ts';
import { Draining } from '../ingress/draining.ts';
import { HeldPorts } from '../ingress/held-ports.ts';
import { ingressSandboxName } from '../ingress/legs.ts';
import { ingressIn, type MeshPlan } from '../ingress/mesh.ts';
import { type Carrier, Serving } from '../ingress/serving.ts';
import type { Background } from './background.ts';
import type { ReservedPort } from './host-ports.ts';
import { IngressLeg } from './ingress-leg.ts';
import type { Logger } from './log.ts';
import { attachmentOf } from './sandboxes/attachment.ts';
import type { Sandboxes } from './sandboxes/sandboxes.ts';

const lookMs = 10_000;

export interface RoutingMeshInit {
  readonly log: Logger;
  readonly background: Background;
  /** null unless the node is a member, and to stay one. */
  readonly cluster: () => Cluster | null;
  readonly sandboxes: () => Sandboxes;
  readonly docker: () => Docker;
  readonly reserved: () => readonly ReservedPort[];
  /** The plan is to be made anew. */
  readonly changed: () => void;
  /** Resolves when the kernel leads new connections as was wanted last. */
  readonly applied: (signal: AbortSignal) => Promise<void>;
}

/** What published ports need of this host besides its kernel: the legs that carry them, free ports, and an end of connections to the dead. */
export class RoutingMesh {
  readonly #init: RoutingMeshInit;
  readonly #leg: IngressLeg;
  readonly #serving: Serving;
  readonly #heldPorts: HeldPorts;
  readonly #draining: Draining;

  constructor(init: RoutingMeshInit) {
    this.#init = init;
    const { log, background, cluster, sandboxes, reserved, changed, applied } = init;
    this.#leg = new IngressLeg({ log, background, sandboxes, cluster });
    this.#serving = new Serving({ log, background, cluster, carriers: () => this.#carriers() });
    this.#heldPorts = new HeldPorts({ sandboxes: () => sandboxes().list(), reserved, changed });
    this.#draining = new Draining({ log, background, cluster, applied });
  }

  /** Published ports that something else has on this host, `tcp 8080`. */
  get heldPorts(): ReadonlySet<string> {
    return this.#heldPorts.ports;
  }

  warnings(): string[] {
    return [
      ...this.#leg.warnings(),
      ...this.#serving.warnings(),
      ...this.#heldPorts.warnings(),
      ...this.#draining.warnings(),
    ];
  }

  /** @param planned what the mesh asked of this host when it was last planned */
  start(planned: () => MeshPlan): void {
    this.#init.background.every(lookMs, async () => this.#heldPorts.look(planned()));
  }

  /** The node's own leg on the ingress network. */
  ensureLeg(): Promise<void> {
    return this.#leg.ensure();
  }

  /** Endpoints of this host have changed. */
  wake(): void {
    this.#serving.wake();
  }

  /** @param wanted what the mesh asks of this host now, before it is planned */
  heard(touched: Touched, self: NodeId, wanted: () => MeshPlan): void {
    if (touched.services || touchesOwn(touched, self)) this.#serving.wake();
    if (touched.services) this.#heldPorts.look(wanted());
  }

  planned(desired: Desired): void {
    this.#draining.planned(desired);
  }

  /** To published ports, of those that came in at this node, by port and address of the backend; empty where it has no gate. */
  async connections(): Promise<ReadonlyMap<string, Counted>> {
    const { sandboxes, log } = this.#init;
    const gate = sandboxes()
      .list()
      .find(({ name }) => name === ingressSandboxName);
    const netns = gate && parseNetnsPath(gate.netns);
    if (!netns?.ok) return new Map();
    try {
      return await countsOfGate(netns.value);
    } catch (error) {
      log.warn({ err: error }, 'connections to published ports cannot be counted');
      return new Map();
    }
  }

  /** What may serve published ports. */
  #carriers(): Carrier[] {
    const networks = this.#init.cluster()?.view.networks;
    const ingress = networks && ingressIn(networks);
    if (!ingress) return [];
    const sandboxes = this.#init.sandboxes();
    const to = { scope: 'cluster', network: ingress } as const;
    const legged = sandboxes.list().filter(({ name, legs }) => name !== ingressSandboxName && legs.length > 0);
    return [
      ...legged.map((sandbox) => ({
        ...{ id: sandbox.id, legs: sandbox.legs },
        join: (alias: string) => sandboxes.connect(sandbox, to, attachmentOf({ Aliases: [alias] })),
        leave: () => sandboxes.disconnect(sandbox, to),
      })),
      ...this.#init.docker().carriers(ingress.id),
    ];
  }
}

/** Whether endpoints of that node are among what changed. */
function touchesOwn({ endpoints }: Touched, self: NodeId): boolean {
  for (const names of endpoints.values()) for (const name of names) if (name.startsWith(`${self} `)) return true;
  return false;
}
