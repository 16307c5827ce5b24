import { ingressSandboxName } from '../../agent/ingress/legs.ts';
import type { Host } from '../lab/host.ts';
import type { Inside } from '../lab/inside.ts';
import { within } from '../lab/process.ts';

/** Hears from the kernel of one host when its gate begins or ends to lead a published TCP port anywhere. */
export class GateWatcher {
  readonly host: Host;
  readonly #monitor: Inside;
  readonly #waiting = new Map<string, (atMs: number) => void>();
  #heard = false;

  private constructor(host: Host, monitor: Inside) {
    this.host = host;
    this.#monitor = monitor;
    let rest = '';
    monitor.stream((text) => {
      const atMs = performance.now();
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const [, verb, port] = /^(add|delete) element inet weft_mesh ports \{ tcp \. (\d+) /.exec(line) ?? [];
        const key = `${verb} ${port}`;
        this.#heard ||= verb !== undefined;
        this.#waiting.get(key)?.(atMs);
        this.#waiting.delete(key);
      }
    });
  }

  /** The gate must have a table. A subscription gives no sign that it stands: look for `hasHeard` after changes. */
  static async start(host: Host): Promise<GateWatcher> {
    const { info } = await host.sandbox(ingressSandboxName);
    const program = ['stdbuf', '-oL', 'nft', 'monitor', 'elements'];
    return new GateWatcher(host, await host.spawn('nsenter', [`--net=${info.NetnsPath}`, '--', ...program]));
  }

  get hasHeard(): boolean {
    return this.#heard;
  }

  /** When the next such change is told, by `performance.now()`. Asked before it is made. */
  async next(verb: 'add' | 'delete', port: number, timeoutMs: number): Promise<number> {
    const told = new Promise<number>((resolve) => this.#waiting.set(`${verb} ${port}`, resolve));
    return await within(told, timeoutMs, `the gate of ${this.host.name}: ${verb} ${port}`);
  }

  async stop(): Promise<void> {
    await this.#monitor.end('SIGKILL');
  }
}
