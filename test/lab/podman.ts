import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { InsideOptions } from './holder.ts';
import type { Host } from './host.ts';
import { imageTar } from './image.ts';
import { exec, type Output } from './process.ts';
import { cgroupOf } from './sweep.ts';

/** The directory with the plugin, as a checkout has it. */
const PLUGINS = fileURLToPath(new URL('../../deploy/cni', import.meta.url));
const IMAGE = 'localhost/lab:latest';

/** Why this machine's Podman is of no use here; false when it is. CNI went with version 5. */
export async function withoutPodman(): Promise<string | false> {
  if (!['/usr/bin/podman', '/usr/local/bin/podman'].some(existsSync)) return 'no podman here';
  const { stdout } = await exec('podman', ['--version']);
  const major = Number(/ (\d+)\./.exec(stdout)?.[1]);
  return major === 4 ? false : `Podman 4 is the last with CNI, and this is ${stdout.trim()}`;
}

/** Podman on a lab host, with files, locks and cgroups of its own, and CNI for its networks. */
export class Podman {
  readonly host: Host;

  private constructor(host: Host) {
    this.host = host;
  }

  /** @param networks configurations of CNI, by the name that Podman is to know each by */
  static async on(host: Host, networks: Readonly<Record<string, object>>): Promise<Podman> {
    const podman = new Podman(host);
    const store = join(host.holder.directory, 'podman');
    const files = {
      '/etc/containers/containers.conf': [
        '[engine]',
        // As a file: what is in /dev/shm is the machine's.
        ...['cgroup_manager = "cgroupfs"', 'events_logger = "none"', 'lock_type = "file"', 'runtime = "runc"'],
        ...['[network]', 'network_backend = "cni"', `cni_plugin_dirs = ["${PLUGINS}"]`],
        '[containers]',
        'log_driver = "none"',
        // Podman asks for more than a container that tests run in may have.
        'default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]',
      ].join('\n'),
      '/etc/containers/storage.conf': [
        ...['[storage]', 'driver = "overlay"', 'runroot = "/run/containers/storage"', `graphroot = "${store}"`],
      ].join('\n'),
      '/etc/containers/policy.json': '{"default": [{"type": "insecureAcceptAnything"}]}',
      ...Object.fromEntries(
        Object.entries(networks).map(([name, plugin]) => [
          `/etc/cni/net.d/${name}.conflist`,
          JSON.stringify({ cniVersion: '1.0.0', name, plugins: [{ type: 'weft', ...plugin }] }),
        ]),
      ),
    };
    await host.exec('rm', ['-rf', '/etc/cni/net.d', '/etc/containers']);
    await host.exec('mkdir', ['-p', '/etc/cni/net.d', '/etc/containers']);
    for (const [path, input] of Object.entries(files)) await host.exec('tee', [path], { input });
    await podman.exec(['import', '--change', 'CMD ["sleep", "1000000"]', await imageTar(), IMAGE]);
    return podman;
  }

  /** Runs podman on the host; throws when it fails, unless `check` is false. */
  exec(args: readonly string[], options: InsideOptions = {}): Promise<Output> {
    return this.host.exec('podman', args, { timeoutMs: 60_000, ...options, env: { TMPDIR: '/run', ...options.env } });
  }

  /** `podman run -d ARGS IMAGE`: a container that sleeps, and is killed when it is stopped. @returns its id */
  async run(...args: string[]): Promise<string> {
    const always = ['--detach', '--cgroup-parent', cgroupOf(this.host.holder), '--stop-signal', 'SIGKILL'];
    // For ping.
    const { stdout } = await this.exec(['run', ...always, '--cap-add', 'NET_RAW', ...args, IMAGE]);
    return stdout.trim();
  }

  /** Runs a program in a container. */
  async execIn(container: string, ...command: string[]): Promise<string> {
    return (await this.exec(['exec', container, ...command])).stdout;
  }

  /** Address on a network, as Podman has it. */
  async address(container: string, network: string): Promise<string> {
    const format = `{{(index .NetworkSettings.Networks ${JSON.stringify(network)}).IPAddress}}`;
    return (await this.exec(['inspect', '--format', format, container])).stdout.trim();
  }

  /** Removes all containers. Those that there are at the end of the lab go with it. */
  async removeAll(): Promise<void> {
    await this.exec(['rm', '--force', '--all', '--time', '0']);
  }
}
