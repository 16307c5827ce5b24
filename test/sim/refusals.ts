import { ControlPlaneError } from '../../controlplane/errors.ts';
import { say, type World } from './world.ts';

/** Refusals that a person would see; anything else that is thrown is a bug. */
const expected = new Set([
  'exhausted',
  'no_owner_reachable',
  'network_exists',
  'network_in_use',
  'network_not_found',
  'network_out_of_reach',
  'address_in_use',
  'address_reserved',
  'address_resting',
  'port_published',
  'port_reserved',
  'port_not_published',
  'service_not_found',
  'nothing_published',
]);

/** Does the work; a refusal that the faults of a run explain is part of the story. */
export async function tolerating(world: World, what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof ControlPlaneError) || !expected.has(error.code)) throw error;
    say(world, `${what}: ${error.code}`);
  }
}
