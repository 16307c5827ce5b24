import { notManager } from './errors.ts';
import type { NodeId } from './ids.ts';
import type { HybridClock } from './tables/clock.ts';
import type { AvailabilityValue } from './tables/kinds.ts';
import { clusterTopic } from './tables/record.ts';
import type { Tables } from './tables/tables.ts';
import type { View } from './tables/view.ts';

/** `drain`: no new connection of a published port is led to endpoints on the node. */
export type Availability = AvailabilityValue['availability'];

export interface AvailabilitiesInit {
  readonly tables: Pick<Tables, 'put'>;
  readonly view: View;
  readonly clock: HybridClock;
  readonly isManager: () => boolean;
}

/** Which nodes are to take connections: managers decide. */
export class Availabilities {
  readonly #init: AvailabilitiesInit;

  constructor(init: AvailabilitiesInit) {
    this.#init = init;
  }

  /** @throws ControlPlaneError `not_manager` */
  mustBeAbleToSet(availability: Availability): void {
    if (this.#init.isManager()) return;
    throw notManager(`only a manager can ${availability === 'drain' ? 'drain' : 'activate'} a node`);
  }

  /** @returns false when it is that already @throws ControlPlaneError `not_manager` */
  async set(node: NodeId, availability: Availability): Promise<boolean> {
    const { tables, view, clock } = this.#init;
    this.mustBeAbleToSet(availability);
    const before = view.availability(node);
    if ((before?.availability ?? 'active') === availability) return false;
    await tables.put(clusterTopic, `availability/${node}`, { stamp: [...clock.next(before?.stamp)], availability });
    return true;
  }
}
