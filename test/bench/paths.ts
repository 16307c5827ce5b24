import { Docker } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import { Lab } from '../lab/lab.ts';
import { settled } from '../lab/suite.ts';
import { formSwarm } from '../lab/swarm.ts';
import { needs, needsDocker } from './peers.ts';

/** Somewhere on a lab host where programs can be run: its own network, or one within. */
export interface Place {
  readonly host: Host;
  /** Words in front of a command. */
  readonly enter: readonly string[];
}

/** A way from one host to another. All go over underlays of one make. */
export interface Path {
  /** `raw`: without any overlay. `hand`: a bridge and a VXLAN device, set up by hand. */
  readonly name: 'raw' | 'hand' | 'weft' | 'swarm';
  readonly from: Place;
  readonly to: Place;
  /** Of `to`, as `from` reaches it. */
  readonly address: string;
}

const NETWORK = 'bench';
const HAND = { vni: 77, port: 4788, mtu: 1450, netns: 'hand' } as const;

/** Labs that end together. */
export class Labs implements AsyncDisposable {
  readonly #labs: Lab[] = [];

  async make(): Promise<Lab> {
    const lab = await Lab.create({ hosts: 2 });
    this.#labs.push(lab);
    return lab;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#labs.map((lab) => lab[Symbol.asyncDispose]()));
  }
}

const inNetns = (host: Host, path: string): Place => ({ host, enter: ['nsenter', `--net=${path}`, '--'] });

/** Two hosts without an agent: straight from one to the other, and over what a person would make by hand. */
async function plain(labs: Labs): Promise<Path[]> {
  const lab = await labs.make();
  const [one, two] = [lab.host(1), lab.host(2)];
  for (const [host, other] of [
    [one, two],
    [two, one],
  ] as const) {
    const { vni, port, mtu, netns } = HAND;
    const vxlan = `type vxlan id ${vni} dstport ${port} local ${host.address} remote ${other.address} nolearning`;
    await host.exec('ip', ['netns', 'add', netns]);
    await host.holder.ip([
      `link add br-hand mtu ${mtu} type bridge`,
      `link add vx-hand mtu ${mtu} ${vxlan}`,
      'link set vx-hand master br-hand up',
      `link add v-hand mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${netns}`,
      'link set v-hand master br-hand up',
      'link set br-hand up',
    ]);
    const lines = [`address add 10.77.0.${host.index}/24 dev eth0`, 'link set eth0 up', 'link set lo up'];
    await host.exec('ip', ['-n', netns, '-batch', '-'], { input: `${lines.join('\n')}\n` });
  }
  const path = `/run/netns/${HAND.netns}`;
  return [
    { name: 'raw', from: { host: one, enter: [] }, to: { host: two, enter: [] }, address: two.address },
    { name: 'hand', from: inNetns(one, path), to: inNetns(two, path), address: `10.77.0.${two.index}` },
  ];
}

async function weft(labs: Labs): Promise<Path> {
  const lab = await labs.make();
  const [one, two] = [lab.host(1), lab.host(2)];
  await lab.cluster();
  await one.api.call('networkCreate', { body: { Name: NETWORK } });
  const from = await one.createSandbox({ Name: 'from', Networks: [NETWORK] });
  const to = await two.createSandbox({ Name: 'to', Networks: [NETWORK] });
  await settled(lab);
  return {
    name: 'weft',
    from: inNetns(one, from.info.NetnsPath),
    to: inNetns(two, to.info.NetnsPath),
    address: to.address(NETWORK),
  };
}

/** Docker Swarm's overlay, container to container, by daemons as they come. */
async function swarm(labs: Labs): Promise<Path> {
  const lab = await labs.make();
  const quiet = { args: ['--log-level', 'fatal'] };
  const [one, two] = [await Docker.start(lab.host(1), quiet), await Docker.start(lab.host(2), quiet)];
  await formSwarm([one, two]);
  await one.exec(['network', 'create', '-d', 'overlay', '--attachable', NETWORK]);
  for (const docker of [one, two]) await docker.run(['--name', 'idle', '--network', NETWORK]);
  const [from, to] = [(await one.inspect('idle')).NetworkSettings, (await two.inspect('idle')).NetworkSettings];
  return {
    name: 'swarm',
    from: inNetns(one.host, from.SandboxKey),
    to: inNetns(two.host, to.SandboxKey),
    address: to.Networks[NETWORK]?.IPAddress ?? '',
  };
}

/** All paths, set up side by side. Swarm's is left out, and that is said, where Docker cannot be had. They end with `labs`. */
export async function makePaths(labs: Labs, say: (text: string) => void): Promise<Path[]> {
  const paths = [...(await plain(labs)), await weft(labs)];
  try {
    await needsDocker(say);
    await needs('/usr/sbin/iptables', 'iptables', say);
    paths.push(await swarm(labs));
  } catch (error) {
    say(`without Docker Swarm: ${error instanceof Error ? error.message : String(error)}`);
  }
  return paths;
}

/** Rounds in which each path has its turn, so that what else goes on hits all alike. @returns what each gave, by its name */
export async function inTurn(
  paths: readonly Path[],
  rounds: number,
  measure: (path: Path) => Promise<number>,
): Promise<Map<Path['name'], number[]>> {
  const values = new Map<Path['name'], number[]>(paths.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < paths.length; turn++) {
      const path = paths[(round + turn) % paths.length];
      if (path !== undefined) values.get(path.name)?.push(await measure(path));
    }
  }
  return values;
}
