import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';

/** The line that `controlplane/liveness` writes when a node takes another one for suspended, or for alive again. */
const MESSAGE = 'a node is taken for alive, or not';

/** What one agent has come to think of another. */
export interface Change {
  readonly peer: string;
  readonly status: string;
  readonly why: string;
  /** Wall clock, milliseconds. */
  readonly atMs: number;
}

/** The changes of status in an agent's log (one JSON object a line), from those at `sinceMs` on. */
export function changesOf(log: string, sinceMs: number): Change[] {
  return log.split('\n').flatMap((line) => {
    if (!line.includes(MESSAGE)) return [];
    const { time, peer, status, why } = JSON.parse(line) as Omit<Change, 'atMs'> & { time: string };
    const atMs = Date.parse(time);
    return atMs < sinceMs ? [] : [{ peer, status, why, atMs }];
  });
}

/** What all agents think of each other, as their logs tell: looking costs the agents nothing, and the times are theirs. */
export class Statuses {
  readonly #hosts: readonly Host[];
  readonly #ids: ReadonlyMap<Host, string>;

  private constructor(hosts: readonly Host[], ids: ReadonlyMap<Host, string>) {
    this.#hosts = hosts;
    this.#ids = ids;
  }

  /** Of a cluster of all these hosts. */
  static async of(hosts: readonly Host[]): Promise<Statuses> {
    const found = await Promise.all(
      hosts.map(async (host): Promise<[Host, string]> => [host, (await host.api.call('status')).NodeID]),
    );
    return new Statuses(hosts, new Map(found));
  }

  /**
   * Waits until all others have come to that status of a host.
   * @returns for each of them how long after `sinceMs` it did, in milliseconds
   */
  async ofAllOthers(about: Host, status: string, sinceMs: number, timeoutMs: number): Promise<number[]> {
    const others = this.#hosts.filter((host) => host !== about);
    return await eventually(
      `${about.name} to be ${status} on all others`,
      () => {
        const times = others.flatMap((host) => {
          const change = changesOf(host.agentLog, sinceMs).find((each) => this.#is(each, about, status));
          return change === undefined ? [] : [change.atMs - sinceMs];
        });
        return times.length === others.length ? times : undefined;
      },
      { timeoutMs, everyMs: 100 },
    );
  }

  /** How often anybody has suspended anybody since. */
  suspensions(sinceMs: number): number {
    const changes = this.#hosts.flatMap((host) => changesOf(host.agentLog, sinceMs));
    return changes.filter(({ status }) => status === 'suspended').length;
  }

  /** Waits until every one takes every other for alive. */
  async calm(timeoutMs: number): Promise<void> {
    await eventually(
      'all to take all for alive',
      async () => {
        const replies = await Promise.all(this.#hosts.map((host) => host.api.call('status')));
        const calm = replies.every(
          ({ Peers }) =>
            Peers.length === this.#hosts.length - 1 &&
            Peers.every(({ Status, State }) => Status === 'alive' && State === 'connected'),
        );
        return calm || undefined;
      },
      { timeoutMs, everyMs: 500 },
    );
  }

  #is(change: Change, about: Host, status: string): boolean {
    return change.peer === this.#ids.get(about) && change.status === status;
  }
}
