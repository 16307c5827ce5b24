import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type AgentOptions, WEFT } from './agent.ts';
import { type Cluster, type ClusterOptions, formCluster } from './cluster.ts';
import { keepDisk } from './disk.ts';
import { Holder } from './holder.ts';
import { Host } from './host.ts';
import type { Inside } from './inside.ts';
import { exec } from './process.ts';
import { labDirectory, newLabId, processesOf, removeCgroups, sweep } from './sweep.ts';

export interface LabOptions {
  /** 1 to 200. */
  readonly hosts: number;
  /** Of the underlay, bytes. @default 1500 */
  readonly mtu?: number;
  /** What hosts have on the underlay; their `address` is of the first. @default ['IPv4'] */
  readonly families?: readonly [Family, ...Family[]];
  /** The program whose `agent` verb is the agent and whose other verbs are the CLI. @default node and dist/weft.js */
  readonly program?: readonly string[];
}

/** The internet, as far as a lab's hosts can tell. */
export const OUTSIDE = { address: '198.51.100.1', port: 7 } as const;

const BRIDGE = 'underlay';
export type Family = 'IPv4' | 'IPv6';

const PREFIXES = {
  IPv4: { of: '10.99.0.', bits: 24, gateway: '10.99.0.254' },
  IPv6: { of: 'fd99::', bits: 64, gateway: 'fd99::ff' },
};

const TABLE = 'weft_lab';

/**
 * N hosts on one machine and an underlay between them. Labs are independent: each has an underlay of its own, so several
 * run at once with the same addresses. A lab ends with the process that made it, however that ends.
 */
export class Lab {
  readonly id: string;
  readonly hosts: readonly Host[];
  readonly underlay: Holder;
  readonly #holders: Set<Holder>;
  readonly #program: readonly string[];
  readonly #mtu: number;
  readonly #families: readonly Family[];
  #ended = false;

  private constructor(
    id: string,
    underlay: Holder,
    hosts: readonly Host[],
    holders: readonly Holder[],
    { program, mtu, families }: Pick<Required<LabOptions>, 'program' | 'mtu' | 'families'>,
  ) {
    this.#program = program;
    this.#mtu = mtu;
    this.#families = families;
    this.id = id;
    this.underlay = underlay;
    this.hosts = hosts;
    this.#holders = new Set(holders);
  }

  static async create(options: LabOptions): Promise<Lab> {
    const count = options.hosts;
    if (!Number.isInteger(count) || count < 1 || count > 200) throw new RangeError(`${count} hosts: want 1 to 200`);
    if (process.getuid?.() !== 0) throw new Error('a lab needs root, for network namespaces');
    sweep();
    const id = newLabId();
    guard();
    const starts = await Promise.allSettled([
      startHolder(id, 'underlay'),
      ...Array.from({ length: count }, (_, at) => startHolder(id, `host${at + 1}`)),
    ]);
    const holders = starts.flatMap((start) => (start.status === 'fulfilled' ? [start.value] : []));
    const [underlay, ...rest] = holders;
    try {
      const failed = starts.find((start) => start.status === 'rejected');
      if (failed) throw failed.reason;
      if (underlay === undefined) throw new Error('unreachable: all started, so there is a first');
      const program = options.program ?? [process.execPath, WEFT];
      const { families = ['IPv4'], mtu = 1500 } = options;
      const hosts = rest.map((holder, at) => {
        const addresses = families.map(
          (family) => `${PREFIXES[family].of}${(at + 1).toString(family === 'IPv4' ? 10 : 16)}`,
        );
        return new Host(at + 1, addresses, holder, underlay, program);
      });
      const lab = new Lab(id, underlay, hosts, holders, { program, mtu, families });
      await lab.#wire();
      await lab.#openOutside();
      live.add(lab);
      return lab;
    } catch (error) {
      await Promise.allSettled(holders.map((holder) => holder[Symbol.asyncDispose]()));
      rmSync(labDirectory(id), { recursive: true, force: true });
      throw error;
    }
  }

  /** Host 1 to N. */
  host(index: number): Host {
    const host = this.hosts[index - 1];
    if (!host) throw new RangeError(`host ${index} of ${this.hosts.length}`);
    return host;
  }

  async #wire(): Promise<void> {
    await this.#ofUnderlay([
      `link add ${BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      `link set ${BRIDGE} mtu ${this.#mtu} up`,
      ...this.#families.map((family) => `address add ${onUnderlay(family, PREFIXES[family].gateway)} dev ${BRIDGE}`),
      `address add ${OUTSIDE.address}/32 dev lo`,
    ]);
    await this.#plugIn(this.hosts);
  }

  async #plugIn(hosts: readonly Host[]): Promise<void> {
    const [mtu, families] = [this.#mtu, this.#families];
    await this.#ofUnderlay(
      hosts.flatMap((host) => [
        `link add ${host.port} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${host.holder.pid}`,
        `link set ${host.port} master ${BRIDGE} up`,
      ]),
    );
    await Promise.all(
      hosts.map((host) =>
        host.holder.ip([
          ...host.addresses.map((ip, at) => `address add ${onUnderlay(families[at] ?? 'IPv4', ip)} dev eth0`),
          'link set eth0 up',
          ...families.map((family) => `route add default via ${PREFIXES[family].gateway} dev eth0`),
        ]),
      ),
    );
  }

  /** In the underlay's netns but among the machine's processes, so that a peer's netns can be named by pid. */
  async #ofUnderlay(lines: readonly string[]): Promise<void> {
    await exec('nsenter', ['-t', String(this.underlay.pid), '-n', '--', 'ip', '-batch', '-'], {
      input: `${lines.join('\n')}\n`,
    });
  }

  /**
   * Takes a host's power away and gives it back. What was in memory is gone at once: processes, namespaces, devices, rules and
   * /run. What is on disk stays: /etc and /var/lib. Nothing is started.
   */
  async reboot(host: Host): Promise<void> {
    const { holder: before, name } = host;
    const putBack = keepDisk(before);
    // Its netns ends some time after its last process.
    await this.#ofUnderlay([`link delete ${host.port}`]);
    await host.powerOff();
    const holder = await startHolder(this.id, name);
    this.#holders.delete(before);
    this.#holders.add(holder);
    putBack(holder);
    host.powerOn(holder);
    await this.#plugIn([host]);
  }

  async #openOutside(): Promise<void> {
    const script = fileURLToPath(new URL('tools/outside.mjs', import.meta.url));
    const args = [script, OUTSIDE.address, String(OUTSIDE.port)];
    const outside: Inside = await this.underlay.spawn(process.execPath, args);
    await outside.says(/^listening$/m);
  }

  /**
   * Cuts the underlay between groups of hosts, silently and for every protocol; within a group, and between hosts of no
   * group, all goes on. Replaces an earlier partition.
   */
  async partition(...groups: readonly (readonly Host[])[]): Promise<void> {
    const drops = groups.flatMap((from, at) =>
      groups
        .filter((_, other) => other !== at)
        .flatMap((to) => from.flatMap((a) => to.map((b) => `iifname "${a.port}" oifname "${b.port}" drop`))),
    );
    const table = [
      `table bridge ${TABLE}`,
      `delete table bridge ${TABLE}`,
      `table bridge ${TABLE} {`,
      'chain cut { type filter hook forward priority 0; policy accept;',
      ...drops,
      '}',
      '}',
    ];
    await this.underlay.exec('nft', ['-f', '-'], { input: `${table.join('\n')}\n` });
  }

  /** Ends a partition. */
  async heal(): Promise<void> {
    const table = `table bridge ${TABLE}\ndelete table bridge ${TABLE}\n`;
    await this.underlay.exec('nft', ['-f', '-'], { input: table });
  }

  /** Starts all agents, makes a cluster of them and waits until it has settled. */
  cluster(options: ClusterOptions = {}): Promise<Cluster> {
    return formCluster(this, options);
  }

  async startAgents(options: AgentOptions = {}): Promise<void> {
    await Promise.all(this.hosts.map((host) => host.startAgent(options)));
  }

  /**
   * Writes a script per host that runs a command on it, for a person who looks around; `weft` is on its PATH.
   * @returns their paths, host 1 first
   */
  writeScripts(): string[] {
    const bin = join(labDirectory(this.id), 'bin');
    const inside = join(bin, 'inside');
    mkdirSync(inside, { recursive: true });
    writeFileSync(join(inside, 'weft'), script(`exec ${this.#program.map(quote).join(' ')} "$@"`), { mode: 0o755 });
    return this.hosts.map((host) => {
      const path = join(bin, host.name);
      const enter = `nsenter -t ${host.holder.pid} -n -m -u -p --`;
      const run = `exec ${enter} env "PATH=${inside}:$PATH" "\${@:-bash}"`;
      writeFileSync(path, script(run), { mode: 0o755 });
      return path;
    });
  }

  /** The agents' logs, for the message of a test that failed. */
  logs(): string {
    return this.hosts.map((host) => `--- ${host.name}\n${host.agentLog}`).join('\n');
  }

  /** Processes of this lab, in the machine's pid namespace. */
  processes(): number[] {
    return processesOf(this.id);
  }

  /** Kills everything without waiting; for when the process itself ends. */
  kill(): void {
    this.#ended = true;
    for (const holder of this.#holders) holder.kill();
    removeCgroups(this.id);
    rmSync(labDirectory(this.id), { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    await Promise.all([...this.#holders].map((holder) => holder[Symbol.asyncDispose]()));
    removeCgroups(this.id);
    rmSync(labDirectory(this.id), { recursive: true, force: true });
    live.delete(this);
  }
}

/** With its prefix length. What is looked for duplicates of is of no use for a second or two. */
const onUnderlay = (family: Family, ip: string): string =>
  `${ip}/${PREFIXES[family].bits}${family === 'IPv6' ? ' nodad' : ''}`;

function script(line: string): string {
  return `#!/bin/bash\n${line}\n`;
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

async function startHolder(labId: string, hostname: string): Promise<Holder> {
  const directory = join(labDirectory(labId), hostname);
  for (const name of ['etc', 'lib', 'run', 'private']) mkdirSync(join(directory, name), { recursive: true });
  return await Holder.start({ labId, hostname, directory });
}

const live = new Set<Lab>();
let guarded = false;

/** Sees to it that labs end with the process. A SIGKILL is not seen here; the holders' life lines see that. */
function guard(): void {
  if (guarded) return;
  guarded = true;
  process.once('exit', () => {
    for (const lab of live) lab.kill();
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      // Others who listen decide for themselves, and 'exit' comes after them.
      if (process.listenerCount(signal) > 0) return;
      for (const lab of live) lab.kill();
      live.clear();
      process.kill(process.pid, signal);
    });
  }
}
