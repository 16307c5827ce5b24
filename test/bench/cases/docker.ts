import { Docker } from '../../lab/docker.ts';
import { Lab } from '../../lab/lab.ts';
import { eventually } from '../../lab/process.ts';
import { formSwarm } from '../../lab/swarm.ts';
import type { BenchContext, Benchmark } from '../benchmark.ts';
import { restartOfDocker } from '../docker-restart.ts';
import { percentile } from '../report.ts';
import { LinkWatcher, setClock, Watcher, wallClockMs } from '../watch.ts';

/** Against Docker Swarm. */
const GOALS = { known: 0.8, told: 0.25, first: 0.5, returned: 1, gone: 0.5 } as const;
const LIMIT_MS = 30_000;

/** Two hosts with Docker, and networks that both are on. */
interface Side {
  readonly name: 'weft' | 'swarm';
  readonly dockers: readonly [Docker, Docker];
  makeNetwork(name: string): Promise<void>;
  /** The namespace of a network's overlay on a host that has a container on it. */
  overlayOn(docker: Docker, network: string): Promise<string>;
}

/** A network with a container on the second host, and who listens to the kernels. */
interface Stage {
  readonly network: string;
  /** On the first host, to its links. */
  readonly links: LinkWatcher;
  /** On the second host, to its entries for the network. */
  readonly entries: Watcher;
}

interface Sample {
  /** Milliseconds from the start of the command. */
  readonly knownMs: number;
  /** The part of it since the container's interface is there; negative where the other host knew first. */
  readonly toldMs: number;
  readonly returnedMs: number;
  readonly goneMs: number;
}

const networkCount = { value: 0 };

/** What a user of Docker waits for. */
export const benchmark: Benchmark = {
  name: 'docker',
  summary:
    'a container on one host until the other knows where it is, and no more, beside an attachable overlay of Swarm; and Docker, started again without an agent',
  options: {
    samples: 'containers on each side, one after the other (10)',
    networks: 'networks that are new there (5)',
  },
  run: async (context) => {
    await besideSwarm(context);
    await restartOfDocker(context);
  },
};

async function besideSwarm(context: BenchContext): Promise<void> {
  const [samples = 10] = context.numbers('samples', [10]);
  const [networks = 5] = context.numbers('networks', [5]);
  await using weftLab = await Lab.create({ hosts: 2 });
  await using swarmLab = await Lab.create({ hosts: 2 });
  const sides = [await weft(weftLab), await swarm(swarmLab)];
  const runs = new Map<string, Sample[]>(sides.map(({ name }) => [name, []]));
  const firsts = new Map<string, number[]>(sides.map(({ name }) => [name, []]));
  const stages = await Promise.all(sides.map(async (side) => ({ side, stage: await setUp(side) })));
  for (let at = 0; at < samples; at++) {
    for (const { side, stage } of stages) runs.get(side.name)?.push(await sample(side, stage));
  }
  for (const { stage } of stages) await strike(stage);
  for (let at = 0; at < networks; at++) {
    for (const side of sides) {
      const stage = await setUp(side);
      firsts.get(side.name)?.push((await sample(side, stage)).knownMs);
      await strike(stage);
    }
  }
  for (const { dockers } of sides) await Promise.all(dockers.map((docker) => docker.stop()));
  const pick = (of: (sample: Sample) => number) => (name: string) => (runs.get(name) ?? []).map(of);
  compare(
    context,
    '`docker run` to known on the other host',
    pick(({ knownMs }) => knownMs),
    GOALS.known,
  );
  compare(
    context,
    'of it, since the interface of the container is there',
    pick(({ toldMs }) => toldMs),
    GOALS.told,
  );
  compare(
    context,
    '`docker run` to the return of the command',
    pick(({ returnedMs }) => returnedMs),
    GOALS.returned,
  );
  compare(
    context,
    '`docker rm -f` to gone on the other host',
    pick(({ goneMs }) => goneMs),
    GOALS.gone,
  );
  compare(context, 'the first of a network on its host, to known', (name) => firsts.get(name) ?? [], GOALS.first);
}

function compare(context: BenchContext, what: string, valuesOf: (name: string) => number[], limit: number): void {
  const [ours, theirs] = [valuesOf('weft'), valuesOf('swarm')];
  const common = { case: '2 hosts', samples: ours.length };
  const [value, peer] = [percentile(ours, 0.5), percentile(theirs, 0.5)];
  context.report({ ...common, metric: `${what}, p50`, unit: 'ms', value, peer: { name: 'swarm', value: peer } });
  context.report({
    ...{ ...common, metric: `${what}, against Swarm`, unit: 'x', value: value / peer },
    goal: { than: '<', limit },
  });
}

/** A new network. */
async function setUp(side: Side): Promise<Stage> {
  networkCount.value += 1;
  const network = `bench${networkCount.value}`;
  await side.makeNetwork(network);
  const [one, other] = side.dockers;
  await other.run(['--network', network]);
  const entries = await Watcher.start(other.host, await side.overlayOn(other, network));
  return { network, entries, links: await LinkWatcher.start(one.host) };
}

async function strike({ links, entries }: Stage): Promise<void> {
  await Promise.all([links.stop(), entries.stop()]);
}

async function sample({ dockers: [docker] }: Side, { network, links, entries }: Stage): Promise<Sample> {
  links.forget();
  entries.forget();
  setClock();
  const startMs = wallClockMs();
  const id = await docker.run(['--network', network]);
  const returnedMs = wallClockMs() - startMs;
  const mac = (await docker.inspect(id)).NetworkSettings.Networks[network]?.MacAddress ?? '';
  const atMs = await entries.when('came', docker.host.address, mac, LIMIT_MS);
  const toldMs = atMs - (links.cameMs(mac) ?? Number.NaN);
  const removedMs = wallClockMs();
  const gone = entries.when('gone', docker.host.address, mac, LIMIT_MS);
  await docker.exec(['rm', '-f', id]);
  return { knownMs: atMs - startMs, toldMs, returnedMs, goneMs: (await gone) - removedMs };
}

async function start(lab: Lab): Promise<[Docker, Docker]> {
  const [one, two] = await Promise.all([Docker.start(lab.host(1)), Docker.start(lab.host(2))]);
  await Promise.all([one.importImage(), two.importImage()]);
  return [one, two];
}

async function weft(lab: Lab): Promise<Side> {
  await lab.cluster({ managers: 2 });
  const dockers = await start(lab);
  return {
    ...{ name: 'weft', dockers },
    makeNetwork: async (name) => {
      await lab.host(1).weft('network', 'create', name);
      for (const docker of dockers) await known(docker, name);
    },
    overlayOn: async () => '/run/netns/weft',
  };
}

async function swarm(lab: Lab): Promise<Side> {
  const dockers = await start(lab);
  const [one] = dockers;
  await formSwarm(dockers);
  return {
    ...{ name: 'swarm', dockers },
    // A worker has it with its first container.
    makeNetwork: async (name) => void (await one.exec(['network', 'create', '-d', 'overlay', '--attachable', name])),
    overlayOn: async (docker, network) => {
      const [found] = JSON.parse((await docker.exec(['network', 'inspect', network])).stdout) as { Id: string }[];
      // Named after it as long as the id is short (moby, libnetwork/drivers/overlay/ov_network.go).
      return `/run/docker/netns/1-${found?.Id.slice(0, 10)}`;
    },
  };
}

const known = (docker: Docker, name: string): Promise<unknown> =>
  eventually(`network ${name} in Docker on ${docker.host.name}`, async () => {
    const { exitCode } = await docker.exec(['network', 'inspect', name], { check: false });
    return exitCode === 0;
  });
