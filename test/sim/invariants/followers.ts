import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { type Invariant, running } from '../world.ts';

/** Who does not follow the network of an endpoint of its own would program nothing for the endpoints of others. */
export const followers: Invariant = {
  name: 'who has an endpoint on a network follows it, and all others know',
  when: 'agreed',
  check: (world) => {
    const members = running(world);
    for (const { nodeId, name, cluster } of members) {
      for (const { id, network, owner, state } of world.oracle.endpoints.values()) {
        const topic = networkTopic(network);
        if (owner !== nodeId || state !== 'live' || cluster === null || !cluster.view.networks.has(network)) continue;
        if (cluster.tables.own(topic, `ep/${id}`) === null) continue;
        if (!cluster.tables.hasInterest(topic) || !cluster.interests.follows(network)) {
          return `${name} does not follow ${network}`;
        }
        const unaware = members.find((other) => other.cluster?.view.nodesOn(network).has(nodeId) === false);
        if (unaware !== undefined) return `${unaware.name} does not know that ${name} is on ${network}`;
      }
    }
    return null;
  },
};
