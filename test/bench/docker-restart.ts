import { Docker } from '../lab/docker.ts';
import { LAB_VARIABLE } from '../lab/holder.ts';
import type { Inside } from '../lab/inside.ts';
import { Lab } from '../lab/lab.ts';
import { eventually } from '../lab/process.ts';
import { settled } from '../lab/suite.ts';
import type { BenchContext } from './benchmark.ts';
import { needs } from './peers.ts';

const GOAL_SECONDS = 5;
const NETWORKS = 5;
/** Without anybody at the plugin's socket Docker asks for 15 s for each network. */
const LIMIT_MS = 240_000;
/** Holds a socket and starts what it is for at the first connection: systemd's own, as of `weft-docker.socket`. */
const HOLDER = '/usr/bin/systemd-socket-activate';
const SOCKET = '/run/docker/plugins/weft.sock';

interface Seconds {
  /** From the start of dockerd until it answers. */
  readonly answers: number;
  /** Until the containers, which ran all the time, are listed and reach those on the other host. */
  readonly works: number;
}

/** A Docker that starts again, with containers that go on meanwhile, while no agent runs. */
export async function restartOfDocker(context: BenchContext): Promise<void> {
  await needs(HOLDER, 'systemd', context.say);
  await using lab = await Lab.create({ hosts: 2 });
  await lab.cluster({ managers: 2 });
  const options = { args: ['--live-restore'], timeoutMs: LIMIT_MS };
  const [docker, other] = await Promise.all([Docker.start(lab.host(1), options), Docker.start(lab.host(2))]);
  const networks = Array.from({ length: NETWORKS }, (_, at) => `again${at + 1}`);
  for (const network of networks) {
    await lab.host(1).weft('network', 'create', network);
    for (const each of [docker, other]) {
      await eventually(`${network} in Docker on ${each.host.name}`, async () => {
        return (await each.exec(['network', 'inspect', network], { check: false })).exitCode === 0;
      });
      await each.run(['--network', network, '--name', network]);
    }
  }
  await settled(lab);
  const targets = await Promise.all(
    networks.map(async (network) => {
      return (await other.inspect(network)).NetworkSettings.Networks[network]?.IPAddress ?? '';
    }),
  );

  const again = async (): Promise<Seconds> => {
    await docker.down();
    const startMs = performance.now();
    await docker.up();
    const answers = (performance.now() - startMs) / 1000;
    const running = (await docker.exec(['ps', '--quiet'])).stdout.trim().split('\n');
    if (running.length !== NETWORKS) throw new Error(`${running.length} containers of ${NETWORKS} go on`);
    await Promise.all(networks.map((name, at) => docker.execIn(name, 'ping', ['-c1', '-W2', targets[at] ?? ''])));
    return { answers, works: (performance.now() - startMs) / 1000 };
  };

  await lab.host(1).stopAgent();
  const held = await holdSocket(docker);
  const activated = await again();
  await held.end('SIGTERM', 15_000);
  await docker.host.exec('rm', [SOCKET]);
  context.say('Docker without socket activation, which takes more than a minute');
  const unheld = await again();

  for (const [what, key] of [
    ['until it answers', 'answers'],
    ['until its containers are listed and reach others', 'works'],
  ] as const) {
    context.report({
      case: `${NETWORKS} networks, live-restore, agent stopped`,
      metric: `dockerd restart with the socket held, ${what}`,
      value: activated[key],
      unit: 's',
      samples: 1,
      goal: { than: '<', limit: GOAL_SECONDS },
      peer: { name: 'nobody holds it', value: unheld[key] },
    });
  }
  // Docker has its containers removed with the help of an agent.
  await lab.host(1).startAgent();
  await Promise.all([docker.stop(), other.stop()]);
}

/** Its process becomes the agent when somebody connects. */
async function holdSocket({ host }: Docker): Promise<Inside> {
  const options = ['--fdname=docker', `--listen=${SOCKET}`, `--setenv=${LAB_VARIABLE}`];
  const holder = await host.spawn(HOLDER, [...options, ...host.agentCommand]);
  await holder.says(/^Listening on /m);
  return holder;
}
