import { bounds, stored } from './invariants/bounds.ts';
import { followers } from './invariants/followers.ts';
import { oneOwner } from './invariants/owners.ts';
import { quarantine } from './invariants/quarantine.ts';
import { portsAgreed, virtualOnce } from './invariants/services.ts';
import { byzantineOperations } from './operations/byzantine.ts';
import { endpointOperations } from './operations/endpoints.ts';
import { faultOperations } from './operations/faults.ts';
import { hostOperations } from './operations/hosts.ts';
import { membershipOperations } from './operations/membership.ts';
import { networkOperations } from './operations/networks.ts';
import { serviceOperations } from './operations/services.ts';
import type { Prng } from './prng.ts';
import type { Invariant, Operation } from './world.ts';

/** Everything that happens in a run. One line a subject; a file of `operations/` holds its operations. */
export const operations: readonly Operation[] = [
  ...endpointOperations,
  ...networkOperations,
  ...serviceOperations,
  ...membershipOperations,
  ...faultOperations,
  ...hostOperations,
  ...byzantineOperations,
];

/** What must hold besides what the oracle knows. One line a subject, as above. */
export const invariants: readonly Invariant[] = [
  bounds,
  stored,
  oneOwner,
  followers,
  quarantine,
  portsAgreed,
  virtualOnce,
];

const totalWeight = operations.reduce((sum, { weight }) => sum + weight, 0);

/** One of the operations, by weight. */
export function nextOperation(prng: Prng): Operation {
  let rest = prng.next() * totalWeight;
  for (const operation of operations) {
    rest -= operation.weight;
    if (rest < 0) return operation;
  }
  throw new Error('the operations have no weight');
}
