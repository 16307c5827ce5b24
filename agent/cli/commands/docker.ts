import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Command } from 'commander';
import { type Ours, resolversIn, withoutResolver, withResolver } from '../../docker/daemon-json.ts';
import { confirm } from '../confirm.ts';
import { type FileState, readFileState, readOurs, replaceFile, unusable } from '../daemon-file.ts';
import { define } from '../define.ts';
import { unifiedDiff } from '../diff.ts';
import { exitCodes, Failure } from '../failure.ts';
import { once } from '../parse.ts';
import type { Context, Session } from '../session.ts';

const defaultFile = '/etc/docker/daemon.json';

interface Flags {
  readonly undo?: boolean;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly file: string;
}

/** `weft docker`. */
export function addDocker(parent: Command, session: Session): void {
  const docker = define(parent, 'docker', {
    summary: 'Fit the Docker of this host to Weft',
    examples: ['weft docker setup --dry-run'],
  });
  define(docker, 'setup', {
    summary: "Make the agent Docker's default resolver, so that names of networks resolve without --dns",
    details: `Puts the address of docker_gwbridge before all others in \`dns\` of Docker's daemon.json, shows the change and asks
first. What else is there stays as it is; what was added is remembered beside it, in daemon.json.weft. Docker has to be
started again to see it: it does not reload \`dns\`. Containers then ask the agent for names of the outside, too, which it
asks the nameservers of this host for; while it does not run, they ask those that stand behind it in \`dns\`, if any.
Undo it before this host leaves the cluster for good.`,
    examples: [
      'weft docker setup --dry-run',
      'weft docker setup --yes && systemctl restart docker',
      'weft docker setup --undo',
    ],
  })
    .option('--undo', 'take out again what was added')
    .option('--dry-run', 'only show the change')
    .option('-y, --yes', 'do not ask')
    .option('--file <path>', `Docker's configuration (default: ${defaultFile})`, once)
    .action(
      session.action<Partial<Flags>>((context, given) => {
        const flags = { ...given, file: given.file ?? defaultFile };
        return flags.undo ? undo(context, flags) : setUp(context, flags);
      }),
    );
}

interface Files {
  readonly file: FileState;
  /** What we did to it. */
  readonly record: FileState;
  readonly ours: Ours | null;
}

async function read(path: string): Promise<Files> {
  const file = await readFileState(path);
  const record = await readFileState(`${file.path}.weft`);
  return { file, record, ours: readOurs(record) };
}

/** Whether it was done to the Docker here, and not undone. */
export async function isSetUp(): Promise<boolean> {
  // Without a Docker here, or where its file is not to be read, there is nothing to say.
  return await read(defaultFile).then(
    ({ ours }) => ours !== null,
    () => false,
  );
}

async function setUp(context: Context, flags: Flags): Promise<void> {
  const address = await resolverHere(context);
  const files = await read(flags.file);
  const change = withResolver(files.file.text, address, files.ours);
  if (!change.ok) throw unusable(flags.file, change.reason);
  if (change.text !== files.file.text && (await hasDnsFlag(flags.file))) {
    // It would not start again.
    throw new Failure(
      exitCodes.failed,
      'dns_flag',
      'dockerd was started with --dns, and refuses `dns` in daemon.json besides',
      `put --dns ${address} before the others there (\`systemctl edit docker\`), or move them into daemon.json`,
    );
  }
  const isDone = await settle(context, flags, files.file, address, change.text, async () => {
    // First, so that what is in the file is never forgotten.
    await replaceFile(files.record, `${JSON.stringify(change.ours)}\n`);
    await replaceFile(files.file, change.text);
  });
  if (isDone) context.print(`${address} is Docker's default resolver once Docker is started again:\n${next}`);
}

async function undo(context: Context, flags: Flags): Promise<void> {
  const { file, record, ours } = await read(flags.file);
  const isOpen = ours === null && resolversIn(file.text).length > 0;
  const address = isOpen ? await resolverHere(context) : (ours?.address ?? '');
  const change = withoutResolver(file.text, ours ?? { address, madeKey: false, madeFile: false });
  if (!change.ok) throw unusable(flags.file, change.reason);
  const isDone = await settle(context, flags, file, address, change.text, () => replaceFile(file, change.text));
  if (!flags.dryRun && record.text !== null) await replaceFile(record, null);
  if (isDone) context.print(`${address} is no longer Docker's default resolver once Docker is started again:\n${next}`);
}

const next = `
    systemctl restart docker

Without \`live-restore\` that ends the containers that run. With it they go on, with the resolver that they have until they
are started again.
`;

/** Shows the change, asks, and makes it. @returns whether it was made */
async function settle(
  context: Context,
  { file: path, dryRun = false, yes = false }: Flags,
  { text: before }: FileState,
  address: string,
  after: string | null,
  make: () => Promise<void>,
): Promise<boolean> {
  const isNew = before !== after;
  const diff = unifiedDiff(path, before, after);
  context.print(isNew ? diff : `Nothing to do in ${path}.\n`);
  if (isNew && !dryRun) {
    if (!yes) await confirm(context, before !== null && after === null ? `Remove ${path}?` : `Write this to ${path}?`);
    await make();
  }
  context.document({ File: path, Address: address, DryRun: dryRun, Changed: isNew, Diff: diff });
  return isNew && !dryRun;
}

/** Where the agent answers names: docker_gwbridge. */
async function resolverHere({ client }: Context): Promise<string> {
  const { GatewayBridge: bridge } = await client.call('status');
  if (bridge !== null) return bridge.Subnet.split('/')[0] ?? '';
  const hint = '`weft init` makes a cluster, `weft join` joins one';
  throw new Failure(exitCodes.failed, 'no_gateway', 'this node is in no cluster, and so has no docker_gwbridge', hint);
}

/** dockerd ends with an error when a setting is both a flag and in the file that it reads. */
async function hasDnsFlag(path: string): Promise<boolean> {
  try {
    const pid = Number.parseInt(await readFile('/var/run/docker.pid', 'utf8'), 10);
    const [program = '', ...args] = (await readFile(`/proc/${pid}/cmdline`, 'utf8')).split('\0');
    // Both ways to write one: `--dns=ADDRESS`, `--dns ADDRESS`.
    const words = args.flatMap((arg) => /^(--[a-z-]+)=(.*)$/.exec(arg)?.slice(1) ?? [arg]);
    const at = words.indexOf('--config-file');
    const reads = at === -1 ? defaultFile : words[at + 1];
    return basename(program) === 'dockerd' && reads === path && words.includes('--dns');
  } catch {
    // No Docker runs, or not there.
    return false;
  }
}
