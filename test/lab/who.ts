import { fileURLToPath } from 'node:url';
import type { Host, LabSandbox } from './host.ts';
import type { Inside } from './inside.ts';
import type { Lab } from './lab.ts';
import { eventually } from './process.ts';
import { sourcePorts } from './source-ports.ts';
import { settled } from './suite.ts';

const WHO = fileURLToPath(new URL('tools/who.mjs', import.meta.url));

/** Has a program in a sandbox answer on a TCP and a UDP port, by its name; resolves when it listens. */
export const serveIn = ({ host, name, info }: LabSandbox, port: number): Promise<Inside> =>
  serveInNamespace(host, info.NetnsPath, name, port);

/** The same in any namespace. Connections stay until the client ends them. */
export async function serveInNamespace(host: Host, netns: string, name: string, port: number): Promise<Inside> {
  const args = [`--net=${netns}`, '--', process.execPath, WHO, 'serve', name, String(port)];
  const serving = await host.spawn('nsenter', args);
  await serving.says(/^listening$/m);
  return serving;
}

/** A network `frontend`, and on it an endpoint on each of these hosts, `web-1` and so on, all called `web`, that answers on port 9000. */
export async function webOn(lab: Lab, hosts: readonly number[]): Promise<LabSandbox[]> {
  await lab.host(1).weftJson('network', 'create', 'frontend');
  await settled(lab);
  const boxes: LabSandbox[] = [];
  for (const index of hosts) {
    const spec = { Name: `web-${index}`, Networks: ['frontend'], Aliases: ['web'] };
    const box = await lab.host(index).createSandbox(spec);
    await serveIn(box, 9000);
    boxes.push(box);
  }
  await settled(lab);
  return boxes;
}

/** As long as nobody is waited for who does not answer; the kernel itself asks a second time after a second. */
const PATIENCE_MS = 4_000;
/** The same where nobody is to answer. */
export const BRIEF_MS = 1_000;

/**
 * Many connections, one question each, some at once.
 * @returns how often each answer came: `NAME ADDRESS`, the address as the service sees it, or what went wrong
 */
export async function tally(
  from: Pick<Host, 'exec'> | LabSandbox,
  address: string,
  port: number,
  count: number,
  protocol: 'tcp' | 'udp' = 'tcp',
  patienceMs = PATIENCE_MS,
): Promise<Record<string, number>> {
  const numbers = [port, count, patienceMs, ...(protocol === 'udp' ? [sourcePorts(count)] : [])].map(String);
  const args = [WHO, 'tally', protocol, address, ...numbers];
  return JSON.parse((await from.exec(process.execPath, args, { timeoutMs: 60_000 })).stdout);
}

/** One connection that asks again and again. */
export class Held {
  readonly #inside: Inside;

  private constructor(inside: Inside) {
    this.#inside = inside;
  }

  /** Resolves with the first answer. */
  static async open(
    from: Host | LabSandbox,
    address: string,
    port: number,
    protocol: 'tcp' | 'udp' = 'tcp',
  ): Promise<Held> {
    const args = [WHO, 'hold', protocol, address, String(port)];
    const held = new Held(
      'host' in from
        ? await from.host.spawn('nsenter', [`--net=${from.info.NetnsPath}`, '--', process.execPath, ...args])
        : await from.spawn(process.execPath, args),
    );
    await held.#inside.says(/\n/);
    return held;
  }

  /** Name of who answers. */
  get by(): string {
    return this.#inside.text.split(' ')[0] ?? '';
  }

  /** Resolves when three more answers have come, by the same; rejects when the connection ends. */
  async goesOn(): Promise<void> {
    const { length } = this.#inside.text.split('\n');
    await this.#inside.says(new RegExp(`^(${this.by} .*\\n){${length + 2}}`));
  }

  /** Resolves when somebody else has answered. */
  async movesOn(timeoutMs?: number): Promise<void> {
    await this.#inside.says(new RegExp(`^(?!${this.by} ).+\n`, 'm'), timeoutMs);
  }

  /** Resolves when the connection has ended by itself. */
  async ends(): Promise<void> {
    await this.#inside.exited;
  }

  end(): Promise<unknown> {
    return this.#inside.end('SIGKILL');
  }
}

/** New connections, one every 20 ms, which wait a second for an answer. */
export class Beginning {
  readonly #inside: Inside;
  #text = '';

  private constructor(inside: Inside) {
    this.#inside = inside;
    inside.stream((text) => {
      this.#text += text;
    });
  }

  /** Resolves with the first answer. */
  static async open(from: Host, address: string, port: number): Promise<Beginning> {
    const inside = await from.spawn(process.execPath, [WHO, 'begin', address, String(port)]);
    await inside.says(/\n/);
    return new Beginning(inside);
  }

  /**
   * Waits until for two seconds all that began were answered.
   * @returns when the last one that was not began, in milliseconds since `sinceMs` (of the wall clock); 0 when all were
   */
  async wellAgain(sinceMs: number): Promise<number> {
    return await eventually(
      'new connections to be answered',
      async () => {
        const lines = this.#text.split('\n').slice(0, -1);
        const all = lines.map((line) => line.split(' ')).map(([at, name]) => ({ atMs: Number(at), name: name ?? '' }));
        const failed = all.filter(({ atMs, name }) => atMs >= sinceMs && !ANSWERED.test(name));
        const lastMs = Math.max(sinceMs, ...failed.map(({ atMs }) => atMs));
        return all.some(({ atMs }) => atMs > lastMs + 2_000) ? { ms: lastMs - sinceMs } : undefined;
      },
      { timeoutMs: 30_000 },
    ).then(({ ms }) => ms);
  }

  end(): Promise<unknown> {
    return this.#inside.end('SIGKILL');
  }
}

/** The name of an endpoint, and not an error. */
const ANSWERED = /^web/;
