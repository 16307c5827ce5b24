import { fileURLToPath } from 'node:url';
import { joinToken } from '../lab/cluster.ts';
import type { Host } from '../lab/host.ts';
import type { Inside } from '../lab/inside.ts';
import { eventually } from '../lab/process.ts';

// By path: inside, the working directory is not the project's.
const TSX = import.meta.resolve('tsx');
const SCRIPT = fileURLToPath(new URL('tools/generator.ts', import.meta.url));
/** Signing and checking 100,000 records, on a loaded machine. */
const LIMIT_MS = 300_000;

/** A member in a lab host that writes endpoint records by the thousand, and has no kernel to bring them into. */
export class Generator {
  readonly #inside: Inside;
  readonly #lot: number;
  #written = 0;
  #version = 0;

  private constructor(inside: Inside, lot: number) {
    this.#inside = inside;
    this.#lot = lot;
  }

  /** Joins through `manager` from `host`, which has no agent. @param lot records that one `write` writes */
  static async start(host: Host, manager: Host, lot: number): Promise<Generator> {
    const { Token } = await joinToken(manager, 'manager');
    const args = ['--import', TSX, SCRIPT, manager.address, Token, host.address, String(lot)];
    const inside = await host.spawn(process.execPath, args);
    await inside.says(/^ready$/m, 30_000);
    return new Generator(inside, lot);
  }

  /** Writes one lot; all of it is on the generator's disk when it resolves. @returns records so far */
  async write(): Promise<number> {
    this.#written += this.#lot;
    this.#inside.signal('SIGUSR2');
    await this.#wrote();
    return this.#written;
  }

  /** Writes a new version of each record that there is. @returns digest of the table that all are to have then */
  async rewrite(): Promise<string> {
    this.#version += 1;
    this.#inside.signal('SIGHUP');
    return await this.#wrote();
  }

  async #wrote(): Promise<string> {
    const line = new RegExp(`^written ${this.#written} ${this.#version} (\\w+)$`, 'm');
    const [, digest = ''] = await this.#inside.says(line, LIMIT_MS);
    return digest;
  }

  /** Resolves when a host's table of the generator's network is that one. */
  async equalOn(host: Host, digest: string): Promise<void> {
    await eventually(
      `the table ${digest} on ${host.name}`,
      async () => (await host.api.call('networkInspect', { ref: 'many' })).Digest === digest || undefined,
      // Each look has the agent hash the table.
      { timeoutMs: LIMIT_MS, everyMs: 50 },
    );
  }

  /** Resolves when a host shows so many endpoints of the generator. @param everyMs between looks, which cost the agent */
  async shownOn(host: Host, count: number, everyMs = 20): Promise<void> {
    await eventually(
      `${count} endpoints of the generator on ${host.name}`,
      async () => {
        const { Endpoints } = await host.api.call('nodeInspect', { ref: 'generator' });
        return Endpoints === count || undefined;
      },
      { timeoutMs: LIMIT_MS, everyMs },
    );
  }

  async stop(): Promise<void> {
    await this.#inside.end('SIGKILL');
  }
}
