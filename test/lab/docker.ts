import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { answers } from './agent.ts';
import type { Holder, InsideOptions } from './holder.ts';
import type { Host } from './host.ts';
import { imageTar } from './image.ts';
import type { Inside } from './inside.ts';
import { type Output, within } from './process.ts';
import { cgroupOf } from './sweep.ts';

/** Debian's own; another one that is earlier on the PATH may be newer than the daemon speaks. */
const CLIENT = '/usr/bin/docker';
/** As the host sees it. */
export const DOCKER_SOCKET = '/var/run/docker.sock';
/** What `importImage` makes, and `run` runs. */
export const IMAGE = 'lab:latest';

export interface DockerOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** More arguments to dockerd. */
  readonly args?: readonly string[];
  /** Until it answers. @default 60000 */
  readonly timeoutMs?: number;
}

/** What is of use in a test of `docker inspect` of a container. */
export interface ContainerInspect {
  readonly Id: string;
  readonly Name: string;
  readonly State: { readonly Status: string; readonly Running: boolean; readonly Pid: number };
  readonly NetworkSettings: {
    /** Path of its network namespace on the host. */
    readonly SandboxKey: string;
    readonly Networks: Readonly<Record<string, ContainerEndpoint>>;
  };
}

export interface ContainerEndpoint {
  readonly NetworkID: string;
  readonly EndpointID: string;
  readonly Gateway: string;
  readonly IPAddress: string;
  readonly IPPrefixLen: number;
  readonly GlobalIPv6Address: string;
  readonly MacAddress: string;
  readonly Aliases: readonly string[] | null;
}

/**
 * A Docker daemon of a lab host. It runs in the host's namespaces and among its processes, with all its files where Docker
 * has them: what else runs on the host sees its `/run/docker/plugins`, `/run/docker/netns` and socket as on a machine. It
 * ends with the lab at the latest, and all it made with it.
 */
export class Docker {
  readonly host: Host;
  readonly #options: DockerOptions;
  #daemon: Inside | undefined;
  #mountedIn: Holder | undefined;
  #imported: Promise<void> | undefined;

  private constructor(host: Host, options: DockerOptions) {
    this.host = host;
    this.#options = options;
  }

  /** Starts the daemon and waits until it answers, or says with its log why it did not. One a host. */
  static async start(host: Host, options: DockerOptions = {}): Promise<Docker> {
    const docker = new Docker(host, options);
    await docker.#start();
    return docker;
  }

  /** The daemon's socket as the machine sees it. */
  get socketPath(): string {
    return `/proc/${this.host.holder.pid}/root/run/docker.sock`;
  }

  /** Of dockerd, in the machine's pid namespace. */
  get pid(): number {
    return this.#daemon?.pid ?? -1;
  }

  get running(): boolean {
    return this.#daemon?.running ?? false;
  }

  /** Everything the daemons of this host have written. */
  get log(): string {
    return existsSync(this.#logPath) ? readFileSync(this.#logPath, 'utf8') : '';
  }

  /** Runs the docker client on the host; throws when it fails, unless `check` is false. */
  exec(args: readonly string[], options: InsideOptions = {}): Promise<Output> {
    // Not the configuration of whoever runs the tests.
    const env = { DOCKER_CONFIG: '/run/docker-client', ...options.env };
    return this.host.exec(CLIENT, ['-H', `unix://${DOCKER_SOCKET}`, ...args], { timeoutMs: 60_000, ...options, env });
  }

  /**
   * Runs a container in the background, `docker run -d ARGS IMAGE COMMAND`; without a command it sleeps. Stopping it takes
   * no time: it is killed.
   * @returns its id
   */
  async run(args: readonly string[] = [], command: readonly string[] = []): Promise<string> {
    await this.importImage();
    return (await this.exec(['run', '--detach', '--stop-signal', 'SIGKILL', ...args, IMAGE, ...command])).stdout.trim();
  }

  /** Runs a program in a container, `docker exec`; throws when it fails, unless `check` is false. */
  execIn(container: string, command: string, args: readonly string[] = [], options?: InsideOptions): Promise<Output> {
    return this.exec(['exec', container, command, ...args], options);
  }

  async inspect(container: string): Promise<ContainerInspect> {
    const { stdout } = await this.exec(['container', 'inspect', container]);
    const [found] = JSON.parse(stdout) as ContainerInspect[];
    if (found === undefined) throw new Error(`docker inspect ${container} on ${this.host.name} printed nothing`);
    return found;
  }

  /** Makes the image that `run` runs, once: busybox, ip, ping and iperf3. @param again it has been lost since */
  importImage({ again = false } = {}): Promise<void> {
    if (again) this.#imported = undefined;
    this.#imported ??= this.#import();
    return this.#imported;
  }

  async #import(): Promise<void> {
    await this.exec(['import', '--change', 'CMD ["sleep", "1000000"]', await imageTar(), IMAGE]);
  }

  /** Ends the daemon and starts it again. Containers go on with `--live-restore`, and when it was killed. */
  async restart(options: { readonly signal?: 'SIGTERM' | 'SIGKILL' } = {}): Promise<void> {
    await this.#end(options.signal ?? 'SIGTERM');
    await this.#start();
  }

  /** Ends the daemon as it is, without a start: for a time without Docker. */
  async down(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await this.#end(signal);
  }

  /** Starts it again after `down`, or a reboot of its host. */
  async up(): Promise<void> {
    if (this.#mountedIn !== this.host.holder) await this.#daemon?.exited;
    if (this.running) throw new Error(`${this.host.name} has a Docker already`);
    await this.#start();
  }

  /**
   * Removes all containers and ends the daemon. To be called while the plugins of its networks still answer, else Docker
   * waits for them.
   */
  async stop(): Promise<void> {
    if (!this.running) return;
    const { stdout } = await this.exec(['ps', '--all', '--quiet', '--no-trunc']);
    const containers = stdout.split('\n').filter(Boolean);
    if (containers.length > 0) await this.exec(['rm', '--force', '--volumes', ...containers]);
    await this.#end('SIGTERM');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  get #logPath(): string {
    return join(this.host.holder.directory, 'docker.log');
  }

  /** Places of Docker's own that the machine's Docker, if it has one, does not share. */
  async #mount(): Promise<void> {
    const data = join(this.host.holder.directory, 'docker');
    mkdirSync(data, { recursive: true });
    await this.host.exec('mkdir', ['-p', '/var/lib/docker', '/etc/docker', '/run/docker/plugins']);
    // The host's /var/lib is an overlay, and Docker's layers cannot be on one.
    await this.host.exec('mount', ['--bind', data, '/var/lib/docker']);
    // Of /etc the host has a copy of its own, without the machine's settings from now on.
    await this.host.exec('rm', ['-rf', '/etc/docker/daemon.json', '/etc/docker/plugins']);
  }

  async #start(): Promise<void> {
    if (this.#mountedIn !== this.host.holder) await this.#mount();
    this.#mountedIn = this.host.holder;
    const { env, args = [], timeoutMs = 60_000 } = this.#options;
    const log = openSync(this.#logPath, 'a');
    let daemon: Inside;
    try {
      daemon = await this.host.holder.spawn(
        'dockerd',
        [
          ...['--host', `unix://${DOCKER_SOCKET}`, '--storage-driver', 'overlay2'],
          ...['--exec-opt', 'native.cgroupdriver=cgroupfs', '--cgroup-parent', cgroupOf(this.host.holder)],
          ...args,
        ],
        { stdio: ['ignore', log, log], ...(env === undefined ? {} : { env }) },
      );
    } finally {
      closeSync(log);
    }
    this.#daemon = daemon;
    const what = `dockerd on ${this.host.name}`;
    const tooEarly = daemon.exited.then(({ exitCode, signal }) => {
      throw new Error(`${what} ended with ${signal ?? `exit code ${exitCode}`}\n${this.log.slice(-4000)}`);
    });
    const given = new AbortController();
    const ready = async (): Promise<void> => {
      await answers(`/proc/${this.host.holder.pid}/root/run`, 'docker.sock', given.signal);
      // It listens before it serves, and answers once it does.
      if (!given.signal.aborted) await this.exec(['version'], { timeoutMs, signal: given.signal });
    };
    try {
      await within(Promise.race([ready(), tooEarly]), timeoutMs, `${what} to answer`, () => this.log.slice(-4000));
    } catch (error) {
      daemon.signal('SIGKILL');
      throw error;
    } finally {
      given.abort();
      tooEarly.catch(() => {});
    }
  }

  async #end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined || !daemon.running) throw new Error(`${this.host.name} has no Docker that runs`);
    daemon.signal(signal);
    const what = `dockerd on ${this.host.name} to end after ${signal}`;
    await within(daemon.exited, 60_000, what, () => this.log.slice(-4000));
  }
}
