import { existsSync } from 'node:fs';
import type { Inside } from '../lab/inside.ts';
import { Lab } from '../lab/lab.ts';
import { eventually, exec, within } from '../lab/process.ts';

/** What gossip has not brought comes with the next exchange, every 30 seconds. */
const LIMIT_MS = 60_000;
const JOIN_MS = 60_000;
const INSTALL_MS = 300_000;

/** Sees to it that a program of one of Debian's packages is here, and says when it installs it. */
export async function needs(program: string, packageName: string, say: (text: string) => void): Promise<void> {
  if (existsSync(program)) return;
  say(`installing ${packageName} for ${program}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await exec('apt-get', ['install', '-y', '--no-install-recommends', packageName], { env, timeoutMs: INSTALL_MS });
}

/** Docker as a peer to measure against. */
export const needsDocker = (say: (text: string) => void): Promise<void> => needs('/usr/sbin/dockerd', 'docker.io', say);

/**
 * How long Serf's user event takes from its command to the last of the other agents, in milliseconds. The event is
 * handed to an agent that waits for it by a command that runs anyway, so the time of a process start is left out: it is
 * taken from the moment the sender's own agent has it.
 */
export async function serfEvents(hosts: number, samples: number, say: (text: string) => void): Promise<number[]> {
  await needs('/usr/bin/serf', 'serf', say);
  await using lab = await Lab.create({ hosts });
  const seen = new Map<string, number>();
  const waiting = new Set<() => void>();
  const agents: Inside[] = [];
  for (const host of lab.hosts) {
    const join = host.index === 1 ? [] : [`-join=${lab.host(1).address}`];
    const options = [`-node=${host.name}`, `-bind=${host.address}`, '-log-level=debug', ...join];
    const agent = await host.spawn('serf', ['agent', ...options]);
    let rest = '';
    agent.stream((text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const name = /Received event: user-event: (\w+)/.exec(line)?.[1];
        if (name === undefined) continue;
        seen.set(`${host.index} ${name}`, performance.now());
        for (const look of waiting) look();
      }
    });
    agents.push(agent);
  }
  // By all of them: an event that comes before its sender is known to somebody is there only with the next exchange.
  for (const host of lab.hosts) {
    await eventually(
      `${hosts} members of Serf on ${host.name}`,
      async () => {
        const { stdout } = await host.exec('serf', ['members'], { check: false });
        return stdout.split('alive').length - 1 === hosts || undefined;
      },
      { timeoutMs: JOIN_MS, everyMs: 500 },
    );
  }
  const values: number[] = [];
  for (let at = 0; at < samples; at++) {
    const sender = lab.host((at % hosts) + 1);
    const name = `bench${at}`;
    const all = new Promise<void>((resolve) => {
      const look = (): void => {
        if (!lab.hosts.every(({ index }) => seen.has(`${index} ${name}`))) return;
        waiting.delete(look);
        resolve();
      };
      waiting.add(look);
    });
    await sender.exec('serf', ['event', '-coalesce=false', name]);
    await within(all, LIMIT_MS, `Serf's event ${name} on all agents`);
    const sentMs = seen.get(`${sender.index} ${name}`) ?? Number.NaN;
    const others = lab.hosts.filter((host) => host !== sender);
    values.push(Math.max(...others.map(({ index }) => (seen.get(`${index} ${name}`) ?? Number.NaN) - sentMs)));
  }
  await Promise.all(agents.map((agent) => agent.end('SIGKILL')));
  return values;
}
