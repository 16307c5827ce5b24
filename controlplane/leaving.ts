import { encode } from './encoding.ts';
import type { Log } from './environment.ts';
import { ControlPlaneError } from './errors.ts';
import type { NodeId } from './ids.ts';
import type { Removal } from './removal.ts';
import type { Allocator } from './ring/allocator.ts';
import type { Inheritance } from './ring/inheritance.ts';
import type { Roles } from './roles/roles.ts';
import type { View } from './tables/view.ts';

const leaveTimeoutMs = 10_000;

export interface LeavingInit {
  readonly self: NodeId;
  readonly view: Pick<View, 'nodes'>;
  readonly roles: Pick<Roles, 'managers'>;
  readonly removal: Pick<Removal, 'has' | 'removeLeaver'>;
  readonly allocator: Pick<Allocator, 'retired'>;
  readonly inheritance: Pick<Inheritance, 'handOver'>;
  readonly transport: {
    canReach(node: NodeId): boolean;
    request(node: NodeId, method: string, body: Uint8Array, signal: AbortSignal): Promise<Uint8Array>;
  };
  readonly log: Log;
  readonly isManager: () => boolean;
  /** Fetches all that a node has written, in every network. */
  readonly catchUp: (node: NodeId) => Promise<void>;
}

/** How a node leaves of its own will: it hands over what it owns and asks a manager to remove it. */
export class Leaving {
  readonly #init: LeavingInit;
  readonly #answering = new Set<Promise<void>>();
  #asking = false;

  constructor(init: LeavingInit) {
    this.#init = init;
  }

  /**
   * Asks a manager to remove this node, so that its addresses and definitions stay with the cluster.
   * @throws ControlPlaneError `last_manager`, `no_manager_reachable`
   */
  async ask(): Promise<void> {
    const { self, view, roles, allocator } = this.#init;
    const managers = roles.managers().filter((id) => id !== self && view.nodes.has(id));
    if (this.#init.isManager() && managers.length === 0) {
      throw new ControlPlaneError(
        'last_manager',
        'this node is the last manager: after it has left, the cluster cannot be changed or joined any more',
        'make another manager first (`weft node promote NODE`), or use --force',
      );
    }
    allocator.retired = true;
    this.#asking = true;
    let told = false;
    try {
      told = await this.#tell(managers);
    } finally {
      // Whatever went wrong: who did not leave goes on.
      if (!told) allocator.retired = false;
      this.#asking = told;
    }
    if (told) return;
    throw new ControlPlaneError(
      'no_manager_reachable',
      'no manager could be told that this node leaves',
      'try again when a manager is connected, or use --force here and `weft node rm` on a manager',
    );
  }

  /** @returns whether this node was removed, or a manager has said that it is */
  async #tell(managers: readonly NodeId[]): Promise<boolean> {
    const { self, inheritance, transport, log, removal } = this.#init;
    // What this node takes over for another one that leaves has to be written before it is taken over itself.
    await Promise.allSettled(this.#answering);
    const reachable = managers.filter((id) => transport.canReach(id));
    const [heir] = reachable;
    if (heir !== undefined) await inheritance.handOver(heir);
    for (const manager of reachable) {
      // The deed may be done although its answer was lost.
      if (removal.has(self)) return true;
      try {
        await transport.request(manager, 'leave', encode([]), AbortSignal.timeout(leaveTimeoutMs));
        return true;
      } catch (error) {
        log.warn({ err: error, manager }, 'a manager did not take the leave; asking the next');
      }
    }
    return removal.has(self);
  }

  /**
   * Answers `leave`. Everything the leaver wrote has to be here first: its grants say who owns what.
   * @throws while this node leaves itself: what it writes now would go with it
   */
  async answer(from: NodeId): Promise<Uint8Array> {
    if (this.#asking) throw new Error('this manager is leaving itself');
    const removing = this.#remove(from);
    this.#answering.add(removing);
    try {
      await removing;
    } finally {
      this.#answering.delete(removing);
    }
    return encode([]);
  }

  async #remove(leaver: NodeId): Promise<void> {
    await this.#init.catchUp(leaver);
    await this.#init.removal.removeLeaver(leaver);
  }
}
