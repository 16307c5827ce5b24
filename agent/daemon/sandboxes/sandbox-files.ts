import {
  chmodSync,
  closeSync,
  constants,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  rmdirSync,
  rmSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Log } from '../../../controlplane/environment.ts';
import { isOwnedNetns, NETNS_DIR, NETNS_FILES_DIR } from '../../../dataplane/names.ts';
import { writeInPlace } from '../../files/in-place.ts';
import { directoryOf, type FileName, type FileRoots, fileNames, mark, render } from '../../files/render.ts';
import { complaint, emptyResolver, firstOf, type HostResolver, type Resolver } from '../../files/resolv-conf.ts';
import type { StoredSandbox } from '../../sandbox-state.ts';
import { conflict, RequestError } from '../api-error.ts';

/** Where a host has the files of its sandboxes; `new SandboxFiles({ roots, … }).sweep([])` leaves none there. */
export const fileRoots = (runDir: string): FileRoots => ({
  owned: NETNS_FILES_DIR,
  adopted: join(runDir, 'sandboxes'),
});

export interface SandboxFilesInit {
  readonly roots: FileRoots;
  /** Of the configuration, at first. */
  readonly defaults: Resolver;
  /** Address of the agent's own resolver, for sandboxes that reach it; null where there is none. */
  readonly own: () => string | null;
  readonly log: Log;
}

/**
 * /etc/hostname, hosts and resolv.conf of each sandbox. Calls are synchronous: a sandbox's files are small, and two
 * changes of one file at once would each undo the other.
 */
export class SandboxFiles {
  readonly #init: SandboxFilesInit;
  /** By sandbox, so at most one for each. */
  readonly #problems = new Map<string, string>();
  /** What the host's own resolv.conf says, for sandboxes that say nothing of their own. */
  host: HostResolver = { resolver: emptyResolver, unusable: [] };

  /** Of the configuration; they come before what the host says. */
  defaults: Resolver;

  constructor(init: SandboxFilesInit) {
    this.#init = init;
    this.defaults = init.defaults;
  }

  /** Files that would say something else with other defaults. */
  changesWith(sandboxes: readonly StoredSandbox[], defaults: Resolver): { path: string; text: string }[] {
    return sandboxes.flatMap((sandbox) => {
      const [now, then] = [this.defaults, defaults].map((each) => render(sandbox, this.#resolverFor(sandbox, each)));
      return fileNames.flatMap((name) =>
        now && then && now[name] !== then[name] ? [{ path: this.pathOf(sandbox, name), text: then[name] }] : [],
      );
    });
  }

  /**
   * The agent's own resolver asks whom the configuration or the host names. Never two that know different things: glibc goes
   * by what the first says, musl asks both and goes by what comes first.
   */
  #resolverFor(sandbox: StoredSandbox, defaults: Resolver): Resolver {
    const own = sandbox.gateway === null ? null : this.#init.own();
    const ours = own === null ? emptyResolver : { ...emptyResolver, servers: [own] };
    return firstOf(sandbox.resolver, ours, defaults, this.host.resolver);
  }

  /** What `weft status` has to say of files. */
  warnings(): string[] {
    // Our own reaches what sandboxes do not.
    const reaches = this.#init.own() !== null && this.host.unusable.length > 0;
    const ofHost = reaches ? null : complaint(this.host, this.defaults);
    return ofHost === null ? [...this.#problems.values()] : [ofHost, ...this.#problems.values()];
  }

  pathOf(sandbox: StoredSandbox, name: FileName): string {
    return join(directoryOf(sandbox, this.#init.roots), name);
  }

  /**
   * Makes the files of a sandbox that is to be made.
   * @throws RequestError when its directory is somebody else's, or cannot be made
   */
  make(sandbox: StoredSandbox): void {
    try {
      this.#write(sandbox);
    } catch (error) {
      this.drop(sandbox);
      if (error instanceof RequestError) throw error;
      const message = `files of sandbox ${sandbox.name}: ${(error as Error).message}`;
      throw new RequestError(500, 'files_failed', message, 'the agent must be able to write there');
    }
  }

  /** Makes the files say what they should. A failure is a warning: the sandbox is there and works without. */
  put(sandbox: StoredSandbox): void {
    try {
      this.#write(sandbox);
      this.#problems.delete(sandbox.id);
    } catch (error) {
      const problem = `files of sandbox ${sandbox.name}: ${(error as Error).message}`;
      if (this.#problems.get(sandbox.id) !== problem) this.#init.log.warn({ err: error }, problem);
      this.#problems.set(sandbox.id, problem);
    }
  }

  /** Removes the files of a sandbox that is gone; what else is in their directory stays, and so does that. */
  drop(sandbox: StoredSandbox): void {
    this.#problems.delete(sandbox.id);
    this.#remove(directoryOf(sandbox, this.#init.roots));
  }

  /** Directories of ours that would be removed if these sandboxes were all. */
  directoriesBesides(sandboxes: readonly StoredSandbox[]): string[] {
    return this.leftovers(sandboxes).filter(isOurs);
  }

  /** Removes what is ours of no such sandbox: left behind by a crash, or by an agent that is no more. */
  sweep(sandboxes: readonly StoredSandbox[]): void {
    for (const directory of this.leftovers(sandboxes)) this.#remove(directory);
  }

  /** Directories that have names as ours have, and are of no such sandbox. */
  leftovers(sandboxes: readonly StoredSandbox[]): string[] {
    const { roots } = this.#init;
    const wanted = new Set(sandboxes.map((sandbox) => directoryOf(sandbox, roots)));
    const ours = [
      ...this.#below(roots.owned).filter((directory) => isOwnedNetns(join(NETNS_DIR, basename(directory)))),
      ...this.#below(roots.adopted),
    ];
    return ours.filter((directory) => !wanted.has(directory));
  }

  #below(root: string): string[] {
    try {
      return entriesOf(root).map((name) => join(root, name));
    } catch (error) {
      this.#init.log.warn({ err: error, root }, 'files of sandboxes that are gone cannot be looked for');
      return [];
    }
  }

  #write(sandbox: StoredSandbox): void {
    const { roots } = this.#init;
    const directory = directoryOf(sandbox, roots);
    makeDirectory(dirname(directory));
    makeDirectory(directory);
    if (!isOurs(directory)) {
      throw conflict(
        'files_taken',
        `${directory} was made by somebody else and is left alone`,
        `move it away, and restart the agent: \`ip netns exec ${basename(directory)}\` takes its files from there`,
      );
    }
    const files = render(sandbox, this.#resolverFor(sandbox, this.defaults));
    for (const name of fileNames) writeInPlace(join(directory, name), files[name]);
  }

  #remove(directory: string): void {
    try {
      if (!isOurs(directory)) return;
      for (const name of fileNames.toReversed()) rmSync(join(directory, name), { force: true });
      rmdirSync(directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      this.#init.log.warn({ err: error, directory }, 'a directory of files of a sandbox that is gone stays');
    }
  }
}

/** Empty, or with a `hosts` of ours, or with one that a crash kept us from writing. */
function isOurs(directory: string): boolean {
  const entries = entriesOf(directory);
  if (!entries.includes('hosts')) return entries.length === 0;
  // Whatever it is that somebody else put there, it is not waited for.
  const fd = openSync(join(directory, 'hosts'), constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const head = Buffer.alloc(mark.length);
    const length = readSync(fd, head);
    return length === 0 || head.toString('latin1') === mark;
  } finally {
    closeSync(fd);
  }
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return;
    throw error;
  }
  // The agent's umask would hide it from those who are not root.
  chmodSync(path, 0o755);
}
