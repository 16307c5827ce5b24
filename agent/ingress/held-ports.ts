import { listenersOfHost } from '../../dataplane/listeners.ts';
import { holderName, type ReservedPort } from '../daemon/host-ports.ts';
import type { StoredSandbox } from '../sandbox-state.ts';
import type { MeshPlan } from './mesh.ts';

export interface HeldPortsInit {
  readonly sandboxes: () => readonly StoredSandbox[];
  readonly reserved: () => readonly ReservedPort[];
  /** Other ports are held than before. */
  readonly changed: () => void;
}

/** Published ports that something else has on this host: there they are left to it, and named. */
export class HeldPorts {
  readonly #init: HeldPortsInit;
  #holders: ReadonlyMap<string, string> = new Map();

  constructor(init: HeldPortsInit) {
    this.#init = init;
  }

  /** `tcp 8080` */
  get ports(): ReadonlySet<string> {
    return new Set(this.#holders.keys());
  }

  warnings(): string[] {
    return [...this.#holders].map(([key, holder]) => {
      const [protocol, port] = key.split(' ');
      return `port ${port}/${protocol} is published in the cluster, and on this host ${holder} has it: it stays with that`;
    });
  }

  /** Looks who has these ports. */
  look({ published }: MeshPlan): void {
    const before = this.#holders;
    this.#holders = published.length === 0 ? new Map() : this.#holdersOf(published);
    if ([...before.keys()].join() !== [...this.#holders.keys()].join()) this.#init.changed();
  }

  #holdersOf(published: MeshPlan['published']): ReadonlyMap<string, string> {
    const ofSandboxes = this.#init
      .sandboxes()
      .flatMap(({ name, published: ports }) =>
        ports.map(({ protocol, hostIp, hostPort }) => ({ protocol, ip: hostIp, port: hostPort, sandbox: name })),
      );
    const all = [...ofSandboxes, ...this.#init.reserved(), ...listenersOfHost()];
    const holders = new Map(all.map((each) => [`${each.protocol} ${each.port}`, each]));
    return new Map(
      published.flatMap(({ protocol, hostPort }) => {
        const key = `${protocol} ${hostPort}`;
        const holder = holders.get(key);
        return holder === undefined ? [] : [[key, holderName(holder)] as const];
      }),
    );
  }
}
