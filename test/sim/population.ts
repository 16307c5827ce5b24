import type { Identity, KnownPeers } from '../../controlplane/identity/state.ts';
import type { NodeId } from '../../controlplane/ids.ts';
import { Host } from './host.ts';
import { identityOf } from './identities.ts';
import type { Prng } from './prng.ts';
import { running, say, type World } from './world.ts';

const maxSkewMs = 20_000;
/** Nodes that may come in the place of others, whose disk was lost. */
const maxReplacements = 2;
// All keys that there are: those of a run are drawn from them.
const keys = 24;

export interface PopulationInit {
  readonly prng: Prng;
  readonly world: World;
  readonly fail: (error: Error) => void;
}

/** Makes the hosts of a run: those it begins with, and those that take the place of a lost one. */
export class Population {
  readonly #init: PopulationInit;
  readonly #named = new Map<Host, KnownPeers>();
  readonly #addresses = new Map<NodeId, string>();
  readonly #spare: Identity[] = [];
  #fullMeshUpTo: number | undefined;

  constructor(init: PopulationInit) {
    this.#init = init;
  }

  async found(): Promise<void> {
    const { prng } = this.#init;
    // A share of the runs has a mesh of bounded degree, and more nodes in it.
    const shape = prng.fork('shape');
    this.#fullMeshUpTo = shape.chance(0.15) ? shape.between(2, 5) : undefined;
    const count = this.#fullMeshUpTo === undefined ? prng.between(3, 7) : shape.between(6, 12);
    // Which keys take part decides the order of node ids, and so every tie.
    const indices = prng.shuffled([...Array(keys).keys()]);
    for (const [i, index] of indices.slice(0, count + maxReplacements).entries()) {
      const identity = await identityOf(index, i === 0 || prng.chance(0.4) ? 'manager' : 'worker');
      if (i < count) this.#add(identity);
      else this.#spare.push(identity);
    }
  }

  /** A host without a disk comes back as a new node: it has to join. @returns null when there were enough of them */
  replace(lost: Host): Host | null {
    const identity = this.#spare.pop();
    if (identity === undefined) return null;
    const host = this.#add(identity);
    say(this.#init.world, `${lost.name} has lost its disk; ${host.name} takes its place`);
    return host;
  }

  #add(identity: Identity): Host {
    const { prng, world, fail } = this.#init;
    const i = world.hosts.length;
    const host: Host = new Host({
      name: `${identity.role}-${i}`,
      identity,
      peers: () => this.#contacts(host),
      network: world.network,
      fullMeshUpTo: this.#fullMeshUpTo,
      prng: prng.fork(`host ${i}`),
      diskSpeed: {
        usualMs: prng.pick([1, 5, 30]) ?? 5,
        stallChance: 0.05,
        stallMs: prng.pick([50, 500, 2_000]) ?? 50,
      },
      skewMs: prng.between(-maxSkewMs, maxSkewMs),
      onRemoved: (removed) => world.network.time.after(0, () => removed.crash(false)),
      onError: (where, message, error) => fail(new Error(`${where.name} logged: ${message}`, { cause: error })),
    });
    world.hosts.push(host);
    world.network.trace.name(host.nodeId, host.name);
    this.#addresses.set(host.nodeId, identity.advertise);
    return host;
  }

  /** Members that a manager would name to a joiner, who keeps what it was told. */
  #contacts(joiner: Host): KnownPeers {
    const { world } = this.#init;
    const kept = this.#named.get(joiner);
    if (kept !== undefined && world.joined.has(joiner)) return kept;
    const others = running(world).filter((host) => host !== joiner && world.joined.has(host));
    const named = new Map(others.slice(0, 8).map(({ nodeId }) => [nodeId, [this.#addresses.get(nodeId) ?? '']]));
    this.#named.set(joiner, named);
    return named;
  }
}
