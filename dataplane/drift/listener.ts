import { type FSWatcher, watch } from 'node:fs';
import { dirname } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { DesiredSandbox } from '../desired.ts';
import type { Log } from '../log.ts';
import { NETNS_DIR, OVERLAY_NETNS } from '../names.ts';
import type { Observed } from '../observe/observed.ts';
import { type HeardKind, Watch } from '../rtnetlink/watch.ts';
import { SLICE_MS } from '../slices.ts';
import type { Where } from '../steps.ts';
import { contradiction, type KernelEvent, keyOf } from './doubt.ts';
import { EventDecoder, isEntry } from './events.ts';

/** Events that may wait for the end of a pass; a pass that makes more of them is followed by a listing. */
const PENDING_MAX = 65_536;
/** Events that are compared with what is known in one turn: about a millisecond. */
const PER_TURN = 2048;
/** Turns of the event loop that reading at the end of a pass may take; a storm is read on beside all else. */
const TURNS_MAX = 32;

export interface ListenerInit {
  readonly log: Log;
  /** The kernel is not as it is known to be; `why` in a few words. Called often, and at any time. */
  readonly doubt: (why: string) => void;
}

/**
 * Hears from the kernel what changes, and compares it with what is known. Only that the two differ is told, never what to
 * do: whoever is told lists the kernel.
 *
 * While a pass is under way (from `pause` to `resume`) events are kept, the last one of each object, and compared with what is
 * known after it, so that the pass's own changes are no contradiction.
 */
export class Listener implements Disposable {
  readonly #log: Log;
  readonly #doubt: (why: string) => void;
  readonly #watch = new Watch();
  readonly #decoders = new Map<Where, EventDecoder>();
  readonly #pending = new Map<string, KernelEvent>();
  readonly #folders = new Map<string, FSWatcher>();
  /** What is known of the kernel while no pass is under way. */
  #known: Observed | null = null;
  #overflow = false;
  #reading = false;
  #complaint = '';
  readonly #onSignal = (): void => {
    if (this.#reading) return;
    this.#reading = true;
    setImmediate(() => this.#readOn());
  };

  constructor({ log, doubt }: ListenerInit) {
    this.#log = log;
    this.#doubt = doubt;
    process.on('SIGURG', this.#onSignal);
  }

  [Symbol.dispose](): void {
    process.off('SIGURG', this.#onSignal);
    this.#watch[Symbol.dispose]();
    for (const folder of this.#folders.values()) folder.close();
    this.#folders.clear();
    this.#known = null;
  }

  /**
   * Follows the host's, the overlays' and these namespaces, as far as they are there, and no other. Call it before
   * they are listed, and again when a namespace was made.
   */
  async follow(sandboxes: readonly Pick<DesiredSandbox, 'netns' | 'gate' | 'returns' | 'vips'>[]): Promise<void> {
    const wanted = new Map<Where, HeardKind>([
      [null, 'host'],
      [OVERLAY_NETNS, 'overlays'],
      ...sandboxes.map(
        ({ netns, gate, returns, vips }) => [netns, gate || returns || vips ? 'ingress' : 'sandbox'] as const,
      ),
    ]);
    for (const netns of this.#watch.followed()) if (!wanted.has(netns)) this.#forget(netns);
    this.#followFolders(wanted.keys());
    let sliceStart = performance.now();
    for (const [netns, kind] of wanted) {
      if (this.#watch.has(netns, kind)) continue;
      this.#forget(netns);
      await this.#open(netns, kind);
      if (performance.now() - sliceStart <= SLICE_MS) continue;
      await nextTurn();
      sliceStart = performance.now();
    }
  }

  /**
   * Lets go of namespaces that were deleted or replaced: a socket in one keeps it, and its devices, alive.
   * @param path the only one that may have been
   */
  dropReplaced(path?: string): void {
    for (const netns of this.#watch.closeReplaced(path)) {
      this.#decoders.delete(netns);
      this.#doubt(`namespace ${netns} was removed`);
    }
  }

  /** A pass begins. */
  pause(): void {
    this.#known = null;
  }

  /** The kernel is about to be listed: what was heard before is of no interest any more. */
  clear(): void {
    this.#pending.clear();
    this.#overflow = false;
  }

  /** A pass has ended, and this is what is known after it; null when the kernel has to be listed anyway. */
  async resume(known: Observed | null): Promise<void> {
    for (let turn = 0; turn < TURNS_MAX && !this.#read(); turn++) await nextTurn();
    const [pending, overflow] = [[...this.#pending.values()], this.#overflow];
    this.clear();
    this.#known = known;
    if (known === null) return;
    if (overflow) {
      this.#doubt(`more than ${PENDING_MAX} changes in one pass`);
      return;
    }
    for (const [index, event] of pending.entries()) {
      if (index % PER_TURN === PER_TURN - 1) await nextTurn();
      this.#compare(known, event);
    }
  }

  async #open(netns: Where, kind: HeardKind): Promise<void> {
    try {
      this.#watch.open(netns, kind);
      const decoder = new EventDecoder(netns);
      this.#decoders.set(netns, decoder);
      await decoder.listNames();
    } catch (error) {
      this.#forget(netns);
      // Not there, or no namespace: what the listing says of it is enough.
      const { code } = error as NodeJS.ErrnoException;
      if (netns !== null && (code === 'ENOENT' || code === 'ENOTDIR' || isNoNamespace(error))) return;
      this.#complain(error, `changes in ${netns ?? 'the host'} cannot be heard, and are found by the sweep alone`);
    }
  }

  #forget(netns: Where): void {
    this.#watch.close(netns);
    this.#decoders.delete(netns);
  }

  /** The directories that namespaces are in say when one of them goes; those of processes (/proc) do not. */
  #followFolders(wanted: Iterable<Where>): void {
    const folders = new Set([NETNS_DIR]);
    for (const netns of wanted) if (netns !== null && !netns.startsWith('/proc/')) folders.add(dirname(netns));
    for (const [folder, watcher] of this.#folders) {
      if (folders.has(folder)) continue;
      watcher.close();
      this.#folders.delete(folder);
    }
    for (const folder of folders) if (!this.#folders.has(folder)) this.#followFolder(folder);
  }

  #followFolder(folder: string): void {
    try {
      const watcher = watch(folder, { persistent: false }, (_, name) =>
        this.dropReplaced(name === null ? undefined : `${folder}/${name}`),
      );
      const end = (): void => {
        watcher.close();
        this.#folders.delete(folder);
      };
      watcher.on('error', end);
      this.#folders.set(folder, watcher);
    } catch (error) {
      // Before the first namespace is made there is no such directory.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      this.#complain(error, `that a namespace of ${folder} goes cannot be heard, and is found by the sweep alone`);
    }
  }

  #readOn(): void {
    try {
      if (!this.#read()) setImmediate(() => this.#readOn());
      else this.#reading = false;
    } catch (error) {
      this.#reading = false;
      this.#complain(error, 'changes of the kernel cannot be read, and are found by the sweep alone');
      this.#doubt('notifications cannot be read');
    }
  }

  /** False when there may be more to read. */
  #read(): boolean {
    const { lost, done } = this.#watch.read((netns, message, nft) => {
      if (this.#overflow && !nft && isEntry(message)) return;
      for (const event of this.#decoders.get(netns)?.decode(message, nft) ?? []) this.#hear(event);
    });
    for (const netns of lost) {
      // Opened anew by the next pass, since names may have been missed.
      this.#forget(netns);
      this.#doubt(`too many changes at once in ${netns ?? 'the host'}`);
    }
    return done;
  }

  #hear(event: KernelEvent): void {
    if (this.#known) this.#compare(this.#known, event);
    else if (this.#overflow) return;
    else if (this.#pending.size < PENDING_MAX) this.#pending.set(keyOf(event), event);
    else {
      // The listing that follows tells all that these do.
      this.#pending.clear();
      this.#overflow = true;
    }
  }

  #compare(known: Observed, event: KernelEvent): void {
    const why = contradiction(known, event);
    if (why !== null) this.#doubt(why);
  }

  #complain(error: unknown, text: string): void {
    if (this.#complaint === text) return;
    this.#complaint = text;
    this.#log.warn({ err: error }, text);
  }
}

/** EINVAL of setns(2). */
const isNoNamespace = (error: unknown): boolean => error instanceof Error && 'errno' in error && error.errno === 22;
