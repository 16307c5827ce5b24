import type { Identity } from '../../../controlplane/identity/state.ts';
import type { EndpointId, NetworkId } from '../../../controlplane/ids.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { ringOf } from '../../../controlplane/tables/subnets.ts';
import { identityOf } from '../../sim/identities.ts';
import { makeCluster, memoryStore } from '../../unit/controlplane/helpers.ts';

export const networkId = 'n'.repeat(25) as NetworkId;
export const network = networkTopic(networkId);
export const ring = ringOf(networkId, '10.0.1.0/24');
export const endpointId = 'e'.repeat(64) as EndpointId;

/** A cluster of production code that hears nothing but what is put in, and knows these members. */
export async function listening(members: readonly Identity[], self?: Identity, onRemoved?: () => void) {
  const identity = self ?? (await identityOf(0, 'manager'));
  const { cluster, transport, admit } = makeCluster(identity, memoryStore(), undefined, undefined, onRemoved);
  await cluster.start();
  const { events } = transport;
  if (events === null) throw new Error('the cluster did not start its mesh');
  for (const each of members) admit(each);
  return { cluster, transport, events };
}

export type Listening = Awaited<ReturnType<typeof listening>>;

/** The first manager of a cluster with one network: what init leaves behind. */
export async function founding(members: readonly Identity[]) {
  const node = await listening(members);
  const { cluster } = node;
  const { vtep, advertise, createdMs } = cluster.identity;
  const root = cluster.self;
  const stamp = (): number[] => [...cluster.clock.next()];
  const settings = { stamp: stamp(), root, pools: ['10.0.0.0/8'], subnetBits: 24, dataPathPort: 4789 };
  const definition = {
    ...{ stamp: stamp(), root, removed: false, name: 'blue', vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1' },
    ...{ internal: false, attachable: true, ingress: false, options: {}, labels: {}, createdMs },
  };
  await cluster.announce({ hostname: 'a', vtep, gossip: [advertise], version: '0', createdMs });
  await cluster.tables.put(clusterTopic, 'cluster', settings);
  await cluster.tables.put(clusterTopic, `network/${networkId}`, definition);
  return node;
}

/** A node that is made anew now and then: what inputs leave behind is to be little, so that each meets a similar one. */
export class Renewed<N extends Pick<Listening, 'cluster'>> {
  readonly #make: () => Promise<N>;
  readonly #every: number;
  #node: N | null = null;
  #uses = 0;

  constructor(make: () => Promise<N>, every = 500) {
    this.#make = make;
    this.#every = every;
  }

  async get(): Promise<N> {
    if (this.#node !== null && this.#uses++ % this.#every !== 0) return this.#node;
    await this.drop();
    this.#node = await this.#make();
    this.#uses = 1;
    return this.#node;
  }

  /** The next one is a new one. */
  async drop(): Promise<void> {
    const node = this.#node;
    this.#node = null;
    await node?.cluster.stop();
  }
}
