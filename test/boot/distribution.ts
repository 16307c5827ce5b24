import { createHash } from 'node:crypto';
import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CommandError, exec, type Output } from '../lab/process.ts';
import { cached } from './cache.ts';

const CHECKOUT = fileURLToPath(new URL('../..', import.meta.url));
const TOOLS = { debootstrap: 'debootstrap', 'systemd-nspawn': 'systemd-container' };
/** What a small server has, and what deploy/prepare asks for: the booted system has no network to install more. */
const PACKAGES = ['systemd', 'systemd-sysv', 'dbus', 'iproute2', 'nftables', 'iputils-ping', 'util-linux'].concat(
  ...['mount', 'hostname', 'libstdc++6'],
);

const say = (text: string): void => void process.stderr.write(`boot: ${text}\n`);

/** Runs a program that dies with us and takes along all it started. */
function contained(command: string, args: readonly string[], timeoutMs: number): Promise<Output> {
  const namespaces = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child', '--mount-proc'];
  return exec('setpriv', ['--pdeathsig', 'KILL', 'unshare', ...namespaces, '--', command, ...args], { timeoutMs });
}

function onPath(name: string): string | undefined {
  const directories = `${process.env['PATH'] ?? ''}${delimiter}/usr/sbin${delimiter}/sbin`.split(delimiter);
  return directories.map((directory) => join(directory, name)).find((path) => existsSync(path));
}

/** Installs what makes and boots a system, where it is missing. */
export async function installTools(): Promise<void> {
  const missing = Object.entries(TOOLS).flatMap(([tool, name]) => (onPath(tool) === undefined ? [name] : []));
  if (missing.length === 0) return;
  say(`installing ${missing.join(' ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const wait = ['-o', 'DPkg::Lock::Timeout=120'];
  await exec('apt-get', ['update', '-q'], { timeoutMs: 120_000, env });
  await exec('apt-get', ['install', '-qy', ...wait, '--no-install-recommends', ...missing], {
    timeoutMs: 240_000,
    env,
  });
}

/** The root of a small system of this machine's own distribution, so that this machine's Node runs in it. */
export async function systemRoot(): Promise<string> {
  const suite = /^VERSION_CODENAME="?([a-z]+)"?$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1];
  if (suite === undefined) throw new Error('/etc/os-release names no suite: want Debian or Ubuntu');
  const name = `${suite}-${process.arch}-${digest(PACKAGES.join(' '))}`;
  return await cached(name, async (directory) => {
    say(`making a root of ${suite} with debootstrap, once; kept in .cache/boot/${name}`);
    const args = ['--variant=minbase', `--include=${PACKAGES.join(',')}`, suite, directory, ...(await mirror(suite))];
    await contained('debootstrap', args, 240_000).catch((error: unknown) => {
      throw new Error('no system to boot: debootstrap failed, which needs a package mirror', { cause: told(error) });
    });
    for (const waste of ['var/cache/apt', 'var/lib/apt/lists', 'usr/share/doc', 'usr/share/locale']) {
      rmSync(join(directory, waste), { recursive: true, force: true });
    }
  });
}

/** The mirror that apt uses for the suite, as an argument; none when apt does not tell. */
async function mirror(suite: string): Promise<string[]> {
  const { stdout } = await exec(
    'apt-get',
    ['indextargets', '--format', '$(CODENAME) $(SITE)', 'Created-By: Packages'],
    {
      check: false,
    },
  );
  const line = stdout.split('\n').find((each) => each.startsWith(`${suite} `));
  return line === undefined ? [] : line.split(' ').slice(1, 2);
}

/** Where npm is, the package itself. */
export function npmPackage(): string {
  const found = onPath('npm');
  const program = process.env['npm_execpath'] ?? (found === undefined ? undefined : realpathSync(found));
  if (program === undefined || !program.endsWith('/npm/bin/npm-cli.js')) {
    throw new Error(`npm is not where it usually is: ${program ?? 'not on PATH'}; want .../npm/bin/npm-cli.js`);
  }
  return dirname(dirname(program));
}

/** A cache of npm that holds all an installation needs, so that `npm ci --offline` works. */
export async function packageCache(registry: string): Promise<string> {
  const lock = join(CHECKOUT, 'package-lock.json');
  return await cached(`npm-${digest(registry + readFileSync(lock, 'utf8'))}`, async (directory) => {
    say('filling a cache of npm packages, once');
    const scratch = join(directory, 'scratch');
    for (const name of ['package.json', 'package-lock.json']) {
      await exec('install', ['-D', join(CHECKOUT, name), join(scratch, name)]);
    }
    const args = ['ci', '--omit=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
    const where = ['--prefix', scratch, '--cache', directory];
    await contained('npm', [...args, ...where], 240_000).catch((error: unknown) => {
      throw new Error('nothing to install from: `npm ci` failed, which needs the registry', { cause: told(error) });
    });
    rmSync(scratch, { recursive: true });
  });
}

/** The registry that npm uses for this checkout; its address is part of the keys of npm's cache. */
export async function npmRegistry(): Promise<string> {
  const { stdout } = await exec('npm', ['config', 'get', 'registry'], { cwd: CHECKOUT });
  return stdout.trim();
}

/** Shared libraries of this Node that the root lacks. */
export async function librariesLacking(root: string): Promise<string[]> {
  const { stdout } = await exec('ldd', [process.execPath], { check: false });
  const paths = [...stdout.matchAll(/=> (\/\S+) \(0x/g)].map((match) => match[1] ?? '');
  return paths.filter((path) => !existsSync(join(root, path)));
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}

/** debootstrap says why on stdout. */
function told(error: unknown): unknown {
  if (!(error instanceof CommandError)) return error;
  const { stdout, stderr } = error.output;
  return new Error(`${error.message}\n${(stdout + stderr).trim().slice(-1500)}`);
}
