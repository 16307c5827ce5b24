import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { z } from 'zod';
import { LocalClient } from '../../agent/api/client.ts';
import type * as schema from '../../agent/api/schema.ts';
import { type AgentOptions, AgentProcess } from './agent.ts';
import type { Holder, InsideOptions } from './holder.ts';
import type { Inside } from './inside.ts';
import { dumpKernel, type KernelDump } from './kernel.ts';
import { type PingOptions, type PingSummary, parsePing, pingArgs } from './ping.ts';
import { type Output, within } from './process.ts';

/** One lab host: a machine as far as an agent can tell, with an address on the underlay. */
export class Host {
  readonly index: number;
  /** On the underlay, one of each family; `address` is the first. */
  readonly addresses: readonly string[];
  readonly address: string;
  /** Calls to this host's agent; new calls fail while there is none. */
  readonly api: LocalClient;
  #holder: Holder;
  readonly #underlay: Holder;
  readonly #command: readonly string[];
  #agent: AgentProcess | undefined;

  constructor(
    index: number,
    addresses: readonly string[],
    holder: Holder,
    underlay: Holder,
    command: readonly string[],
  ) {
    this.index = index;
    this.addresses = addresses;
    this.address = addresses[0] ?? '';
    this.#holder = holder;
    this.#underlay = underlay;
    this.#command = command;
    this.api = new LocalClient({ socketPath: this.socketPath });
  }

  /** Another one after a reboot. */
  get holder(): Holder {
    return this.#holder;
  }

  get name(): string {
    return this.holder.hostname;
  }

  /** The agent's socket as the machine sees it; inside the host it is /run/weft/weft.sock. */
  get socketPath(): string {
    return join(this.holder.directory, 'run', 'weft.sock');
  }

  /** Runs a program on the host; throws when it fails, unless `check` is false. */
  exec(command: string, args: readonly string[] = [], options: InsideOptions = {}): Promise<Output> {
    return this.holder.exec(command, args, options);
  }

  /** Starts a long-running program on the host. */
  spawn(command: string, args: readonly string[] = []): Promise<Inside> {
    return this.holder.spawn(command, args);
  }

  /** Runs a program in a network namespace of the host, `path` as seen inside. */
  execIn(path: string, command: string, args: readonly string[] = [], options: InsideOptions = {}): Promise<Output> {
    return this.exec('nsenter', [`--net=${path}`, '--', command, ...args], options);
  }

  /** Runs the CLI on the host. Never throws for an exit code: that is what tests look at. */
  weft(...args: string[]): Promise<Output> {
    return this.#cli(args, { check: false, timeoutMs: 60_000 });
  }

  /** Runs the CLI with `--json`; throws when it fails. */
  async weftJson<T = unknown>(...args: string[]): Promise<T> {
    const split = args.indexOf('--');
    const at = split === -1 ? args.length : split;
    const withJson = [...args.slice(0, at), '--json', ...args.slice(at)];
    const { stdout } = await this.#cli(withJson, { timeoutMs: 60_000 });
    try {
      return JSON.parse(stdout) as T;
    } catch (cause) {
      throw new Error(`weft ${withJson.join(' ')} on ${this.name} printed no JSON: ${stdout.slice(0, 500)}`, { cause });
    }
  }

  #cli(args: readonly string[], options: InsideOptions): Promise<Output> {
    const [program = 'node', ...first] = this.#command;
    return this.exec(program, [...first, ...args], options);
  }

  /** Starts the agent and waits until it answers. A `config` becomes /etc/weft/agent.yaml of the host. */
  async startAgent(options: AgentOptions = {}): Promise<AgentProcess> {
    if (this.#agent?.running) throw new Error(`${this.name} has an agent already`);
    const config = options.config === undefined ? [] : ['--config', this.writeConfig(options.config)];
    this.#agent = await AgentProcess.start(this.holder, [...this.agentCommand, ...config], options);
    return this.#agent;
  }

  /** Starts an agent, for something other than us that does so. */
  get agentCommand(): readonly string[] {
    return [...this.#command, 'agent'];
  }

  /** Writes the config file and returns its path inside the host. JSON is YAML. */
  writeConfig(config: Readonly<Record<string, unknown>>): string {
    const directory = join(this.holder.directory, 'etc');
    mkdirSync(directory, { recursive: true });
    writeFileSync(join(directory, 'agent.yaml'), `${JSON.stringify(config, null, 2)}\n`);
    return '/etc/weft/agent.yaml';
  }

  get agent(): AgentProcess {
    if (this.#agent === undefined) throw new Error(`${this.name} never had an agent`);
    return this.#agent;
  }

  /** Everything the agents of this host wrote. */
  get agentLog(): string {
    const path = join(this.holder.directory, 'agent.log');
    return existsSync(path) ? readFileSync(path, 'utf8') : '';
  }

  /** SIGTERM, then waits; returns the exit code. */
  stopAgent(timeoutMs = 15_000): Promise<number | null> {
    return this.agent.end('SIGTERM', timeoutMs);
  }

  /** SIGKILL, then waits until the process is gone. */
  async killAgent(): Promise<void> {
    await this.agent.end('SIGKILL', 5_000);
  }

  /** All its processes end, as without power. */
  async powerOff(): Promise<void> {
    if (this.#agent?.running) await this.killAgent();
    await this.#holder[Symbol.asyncDispose]();
  }

  /** It runs again, in a kernel that knows nothing of it. */
  powerOn(holder: Holder): void {
    this.#holder = holder;
  }

  /** Pulls the host's cable: the underlay side loses its link, addresses and routes stay. */
  async linkDown(): Promise<void> {
    await this.#underlay.ip([`link set ${this.port} down`]);
  }

  async linkUp(): Promise<void> {
    await this.#underlay.ip([`link set ${this.port} up`]);
  }

  /** The host's port on the underlay's bridge. */
  get port(): string {
    return `h${this.index}`;
  }

  /** Everything in the kernel that an agent could have made, without what differs from run to run. */
  kernel(): Promise<KernelDump> {
    return dumpKernel(this);
  }

  /** Makes or adopts a sandbox through the API. */
  async createSandbox(request: z.input<typeof schema.SandboxCreateRequest>): Promise<LabSandbox> {
    return new LabSandbox(this, await this.api.call('sandboxCreate', { body: request }));
  }

  async sandbox(name: string): Promise<LabSandbox> {
    return new LabSandbox(this, await this.api.call('sandboxInspect', { ref: name }));
  }
}

/** A sandbox as it was when it was looked up; programs in it run without the agent's help. */
export class LabSandbox {
  readonly host: Host;
  readonly info: schema.Sandbox;

  constructor(host: Host, info: schema.Sandbox) {
    this.host = host;
    this.info = info;
  }

  get name(): string {
    return this.info.Name;
  }

  /** Address on a network, without the prefix length. */
  address(network: string): string {
    const found = this.info.Networks.find((endpoint) => endpoint.Network === network);
    if (!found) throw new Error(`${this.name} on ${this.host.name} is not on ${network}`);
    return found.IPv4Address.replace(/\/.*/, '');
  }

  /** Its IPv6 address there. */
  address6(network: string): string {
    const found = this.info.Networks.find((endpoint) => endpoint.Network === network);
    if (!found?.IPv6Address) throw new Error(`${this.name} on ${this.host.name} has no IPv6 address on ${network}`);
    return found.IPv6Address.replace(/\/.*/, '');
  }

  exec(command: string, args: readonly string[] = [], options: InsideOptions = {}): Promise<Output> {
    return this.host.execIn(this.info.NetnsPath, command, args, options);
  }

  /** Pings and counts; no answer at all is a result, not an error. */
  async ping(address: string, options: PingOptions = {}): Promise<PingSummary> {
    const { count = 3, intervalMs = 50, waitMs = 1000 } = options;
    const { stdout, stderr } = await this.exec('ping', pingArgs(address, options), {
      check: false,
      timeoutMs: count * intervalMs + waitMs + 10_000,
    });
    return parsePing(stdout + stderr);
  }

  /** Starts a ping and resolves at its first answer; it goes on meanwhile. */
  async backgroundPing(address: string, options: PingOptions = {}): Promise<BackgroundPing> {
    const args = [
      `--net=${this.info.NetnsPath}`,
      '--',
      'ping',
      ...pingArgs(address, { intervalMs: 10, count: 1000, ...options }),
    ];
    const ping = new BackgroundPing(await this.host.spawn('nsenter', args));
    await ping.started();
    return ping;
  }
}

/** A ping that runs beside the test. */
export class BackgroundPing {
  readonly #inside: Inside;

  constructor(inside: Inside) {
    this.#inside = inside;
  }

  /** Waits for the first answer. */
  async started(): Promise<void> {
    await this.#inside.says(/ bytes from /, 5_000);
  }

  /** Waits until all were sent and returns the count. */
  async finished(timeoutMs: number): Promise<PingSummary> {
    await within(this.#inside.closed, timeoutMs, 'the end of a background ping');
    return parsePing(this.#inside.text);
  }

  /** Ends it now and returns the count. */
  async stop(): Promise<PingSummary> {
    this.#inside.signal('SIGINT');
    return await this.finished(5_000);
  }

  /**
   * Ends it now. One that is under way at that moment is not lost; `missing` are the numbers of those before the last
   * answer that have none.
   */
  async stopAndCount(): Promise<{ readonly received: number; readonly missing: readonly number[] }> {
    await this.stop();
    const answered = new Set<number>();
    let last = 0;
    for (const [, at] of this.#inside.text.matchAll(/ bytes from .* icmp_seq=(\d+) /g)) {
      // ICMP counts in 16 bits: the number that is nearest to the last.
      const number = last + (((Number(at) - last) << 16) >> 16);
      answered.add(number);
      last = Math.max(last, number);
    }
    const missing = Array.from({ length: last }, (_, at) => at + 1).filter((number) => !answered.has(number));
    return { received: answered.size, missing };
  }
}
