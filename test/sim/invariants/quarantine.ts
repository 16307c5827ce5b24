import { restMs } from '../../../controlplane/ring/resting.ts';
import { jumped } from '../operations/hosts.ts';
import { handedOver } from '../operations/membership.ts';
import type { KnownEndpoint } from '../oracle.ts';
import type { Invariant, World } from '../world.ts';

/** Some host may still have the old entry for an address that was freed a moment ago. */
export const quarantine: Invariant = {
  name: 'a freed address rests before it is used again',
  when: 'agreed',
  check: (world) => {
    // Whoever reclaims what it knows nothing of does not know what was freed.
    if (world.oracle.removedBlindly) return null;
    const last = new Map<string, KnownEndpoint>();
    const held = [...world.oracle.endpoints.values()].flatMap((endpoint) =>
      endpoint.ips.map((ip) => [endpoint, `${ip} of ${endpoint.network}`] as const),
    );
    for (const [endpoint, address] of held) {
      const before = last.get(address);
      last.set(address, endpoint);
      if (before?.state !== 'gone' || before.freedMs === null) continue;
      const restedMs = endpoint.allocatedMs - before.freedMs;
      if (restedMs < restMs && isPromised(world, before, endpoint)) {
        return `${address}, freed by ${before.owner}, was given out on ${endpoint.owner} ${restedMs} ms later`;
      }
    }
    return null;
  },
};

/** Whether time went by evenly for all that may have had the address, and the one that freed it still gives it out. */
function isPromised({ hosts }: World, before: KnownEndpoint, after: KnownEndpoint): boolean {
  const freedBy = hosts.filter(({ nodeId }) => nodeId === before.owner);
  const involved = before.owner === after.owner ? freedBy : hosts;
  return !involved.some((host) => jumped.has(host)) && !freedBy.some((host) => handedOver.has(host));
}
