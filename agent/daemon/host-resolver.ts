import { type FSWatcher, readlinkSync, watch } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { Log } from '../../controlplane/environment.ts';
import { readBounded } from '../files/bounded.ts';
import { emptyResolver, type HostResolver, hostResolver } from '../files/resolv-conf.ts';
import { inodeOf } from './sandboxes/netns.ts';

/** Where the host says whom it asks, and where systemd-resolved says whom its stub asks (systemd-resolved.service(8)). */
export const hostPaths = { etc: '/etc/resolv.conf', upstream: '/run/systemd/resolve/resolv.conf' } as const;

// Who writes the file may take several steps.
const debounceMs = 50;
// The kernel drops events of a queue that is full, and there are none of a directory that comes later.
const pollMs = 5_000;
/** A file of a kilobyte is a large one; the resolver gets no chance to read more than this. */
const maxBytes = 64 * 1024;
const maxLinks = 8;

export interface HostResolverFollowerInit {
  readonly paths: { readonly etc: string; readonly upstream: string };
  readonly log: Log;
  /** What the host says is not what it said before. */
  readonly changed: (found: HostResolver) => void;
}

/** Follows the host's resolv.conf, and that of systemd-resolved behind it. Events only wake; what counts is what is read. */
export class HostResolverFollower implements Disposable {
  readonly #init: HostResolverFollowerInit;
  /** By directory: one for each link on the way to the file. */
  readonly #watchers = new Map<string, { readonly watcher: FSWatcher; readonly inode: number }>();
  #names = new Set<string>();
  #last = '';
  #problem = '';
  #soon: NodeJS.Timeout | undefined;
  #poll: NodeJS.Timeout | undefined;

  constructor(init: HostResolverFollowerInit) {
    this.#init = init;
  }

  /** Reads it at once; `changed` is called before this returns. */
  start(): void {
    this.#look();
    this.#poll = setInterval(() => this.#look(), pollMs);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#soon);
    clearInterval(this.#poll);
    for (const directory of this.#watchers.keys()) this.#unwatch(directory);
  }

  /** Why the host's file is not followed just now; '' when it is. */
  get problem(): string {
    return this.#problem;
  }

  #look(): void {
    // Watched before it is read: what is written in between wakes again.
    this.#watchAll();
    const { paths, changed, log } = this.#init;
    let found: HostResolver;
    try {
      found = hostResolver(readBounded(paths.etc, maxBytes) ?? '', readBounded(paths.upstream, maxBytes));
      this.#problem = '';
    } catch (error) {
      const problem = `the host's resolv.conf is not followed: ${(error as Error).message}`;
      if (this.#problem !== problem) log.warn({ err: error }, problem);
      this.#problem = problem;
      // What was read before holds; where nothing was, sandboxes do without.
      if (this.#last !== '') return;
      found = { resolver: emptyResolver, unusable: [] };
    }
    const text = JSON.stringify(found);
    if (text === this.#last) return;
    this.#last = text;
    changed(found);
  }

  #watchAll(): void {
    const { etc, upstream } = this.#init.paths;
    const files = [...linksOf(etc), ...linksOf(upstream)];
    const directories = new Set(files.map((file) => dirname(file)));
    // A directory that is removed says so by its own name.
    this.#names = new Set([...files, ...directories].map((path) => basename(path)));
    for (const [directory, { inode }] of this.#watchers) {
      if (!directories.has(directory) || inodeOf(directory) !== inode) this.#unwatch(directory);
    }
    for (const directory of directories) if (!this.#watchers.has(directory)) this.#watch(directory);
  }

  #watch(directory: string): void {
    const inode = inodeOf(directory);
    if (inode === null) return;
    try {
      const watcher = watch(directory, (_event, name) => {
        if (name === null || this.#names.has(name)) this.#wake();
      });
      watcher.on('error', () => this.#unwatch(directory));
      this.#watchers.set(directory, { watcher, inode });
    } catch (error) {
      // The host has no watches left, say. The poll goes on.
      this.#init.log.debug({ err: error, directory }, 'a directory cannot be watched');
    }
  }

  #unwatch(directory: string): void {
    this.#watchers.get(directory)?.watcher.close();
    this.#watchers.delete(directory);
  }

  /** Not put off by further events: a file that is written all the time is read all the same. */
  #wake(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#look();
    }, debounceMs);
  }
}

/** The path, and where it leads as a symbolic link, step by step. */
function linksOf(path: string): string[] {
  const paths = [path];
  try {
    for (let at = path; paths.length <= maxLinks; paths.push(at)) at = resolve(dirname(at), readlinkSync(at));
  } catch {
    // No link, or nothing there: the way ends.
  }
  return paths;
}
