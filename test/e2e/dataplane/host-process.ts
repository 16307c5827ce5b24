import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { execa } from 'execa';
import { cleanUp } from '../../../dataplane/cleanup.ts';
import { DataPlane } from '../../../dataplane/dataplane.ts';
import type { Desired } from '../../../dataplane/desired.ts';
import type { DriftMode } from '../../../dataplane/drift/drift.ts';
import { defaultAddress, hostRoutes } from '../../../dataplane/host.ts';
import type { Log } from '../../../dataplane/log.ts';
import { observe } from '../../../dataplane/observe/observe.ts';
import { tablesOf } from '../../../dataplane/observe/observed.ts';
import { must, parseNetnsPath } from '../../../dataplane/values.ts';

// A host of the test: started by host.ts in a network and mount namespace of its own, and gone when its parent is.

export interface Request {
  readonly id: number;
  readonly method: keyof typeof methods;
  readonly args: readonly unknown[];
}

export interface Reply {
  readonly id: number;
  readonly value?: unknown;
  readonly error?: string;
}

const RUN_DIR = '/run/weft';
/** So long that no sweep happens unless the test asks for one. */
const NO_SWEEP_MS = 3_600_000;
const lines: string[] = [];
/** Who waits for a line. */
const heard = new Set<(line: string) => void>();
const write = (_fields: unknown, message: string): void => {
  lines.push(message);
  for (const hear of heard) hear(message);
  if (process.env['E2E_VERBOSE']) console.error(message);
};
const log: Log = { debug: write, info: write, warn: write, error: write };

/** What `start` has started; they end with the host. */
const children = new Map<number, ChildProcess>();
let plane: DataPlane | null = null;

async function start(sweepMs: number, drift: DriftMode = 'repair'): Promise<DataPlane> {
  await plane?.[Symbol.asyncDispose]();
  plane = new DataPlane({ log, runDir: RUN_DIR, sweepMs, drift, retryMinMs: 20, retryMaxMs: 200 });
  plane.start(new AbortController().signal);
  return plane;
}

const running = async (): Promise<DataPlane> => plane ?? (await start(NO_SWEEP_MS));

/** What was found of a table. */
export interface Listing {
  /** It was read, and not taken from the listing before. */
  readonly anew: boolean;
  /** How many, by set. */
  readonly elements: Readonly<Record<string, number>>;
}

const methods = {
  /** Stands for a restarted agent: nothing is kept but the kernel. */
  restart: async (sweepMs: number | null, drift?: DriftMode) => void (await start(sweepMs ?? NO_SWEEP_MS, drift)),
  set: async (desired: Desired, prune = true) => {
    const data = await running();
    const startMs = performance.now();
    await data.settled(data.set(desired, { prune }));
    return performance.now() - startMs;
  },
  whenApplied: async (endpointId: string) => (await running()).whenApplied(endpointId),
  sweep: async () => (await running()).sweep(),
  drift: async () => (await running()).drift(),
  repair: async () => (await running()).repair(),
  /** The first line since the last `log` that matches, as soon as it is there. */
  line: (pattern: string) => {
    const matching = new RegExp(pattern);
    const already = lines.find((line) => matching.test(line));
    if (already !== undefined) return already;
    return new Promise<string>((resolve) => {
      const hear = (line: string): void => {
        if (!matching.test(line)) return;
        heard.delete(hear);
        resolve(line);
      };
      heard.add(hear);
    });
  },
  status: async () => Object.fromEntries((await running()).status()),
  stats: async () => (await running()).stats,
  log: () => lines.splice(0),
  cleanUp: async () => {
    await plane?.[Symbol.asyncDispose]();
    plane = null;
    await cleanUp({ log, runDir: RUN_DIR });
  },
  exec: async (command: readonly string[]) => {
    const [file = '', ...args] = command;
    const { stdout, stderr, exitCode } = await execa(file, args, { reject: false });
    return { stdout, stderr, exitCode: exitCode ?? -1 };
  },
  /** Nothing else of this process goes on meanwhile. */
  execBlocked: ([file = '', ...args]: readonly string[]) => {
    const { status, stderr } = spawnSync(file, args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${stderr}`);
  },
  preview: async (desired: Desired) => (await running()).preview(desired),
  /** Starts a program for Node on this host; its first message says that it is ready. */
  start: async (script: string, netns?: string) => {
    // It ends with this process.
    const whole = `process.on('disconnect', () => process.exit()); ${script}`;
    const inside = netns === undefined ? [] : ['ip', 'netns', 'exec', netns];
    const [file = '', ...args] = [...inside, process.execPath, '-e', whole];
    const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    children.set(child.pid ?? 0, child);
    await once(child, 'message');
    return child.pid ?? 0;
  },
  end: async (pid: number) => {
    const child = children.get(pid);
    child?.kill('SIGKILL');
    if (child) await once(child, 'exit');
  },
  hostRoutes: () => hostRoutes(),
  defaultAddress: () => defaultAddress(),
  /** Ends the data plane and lists as it does on its sweeps; before the last time somebody makes a change. */
  listings: async (desired: Desired, path: string, table: string, change: readonly string[]) => {
    await plane?.[Symbol.asyncDispose]();
    plane = null;
    const netns = must(parseNetnsPath(path));
    let known = await observe(desired, RUN_DIR);
    const listings: Listing[] = [];
    for (const command of [[], [], [], change]) {
      if (command.length > 0) methods.execBlocked(command);
      const before = tablesOf(known, netns)?.get(table);
      known = await observe(desired, RUN_DIR, known);
      const found = tablesOf(known, netns)?.get(table);
      const elements = [...(found?.elements ?? [])].map(([set, { size }]) => [set, size] as const);
      listings.push({ anew: found !== before, elements: Object.fromEntries(elements) });
    }
    return listings;
  },
};

mkdirSync('/run/netns', { recursive: true });
await execa('ip', ['link', 'set', 'lo', 'up']);
process.on('disconnect', () => process.exit());
process.on('message', (request: Request) => {
  const method = methods[request.method] as (...args: readonly unknown[]) => unknown;
  Promise.resolve()
    .then(() => method(...request.args))
    .then(
      (value) => process.send?.({ id: request.id, value } satisfies Reply),
      (error: unknown) => process.send?.({ id: request.id, error: String(error) } satisfies Reply),
    );
});
process.send?.({ id: 0 } satisfies Reply);
