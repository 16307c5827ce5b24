import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exec } from './process.ts';

export const CACHE = fileURLToPath(new URL('../../.cache/', import.meta.url));
const PREFIX = 'lab-image-';
// Of what is below, so that an image of another make is not taken for this one.
const LAYOUT = 2;
const common = { 'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\n', 'etc/group': 'root:x:0:\n' };

/** What an image has besides busybox, in the place of its applets. */
export interface Contents {
  /** Names the file in `.cache/`. */
  readonly name: string;
  /** Of this machine, by name; each comes with the libraries that it loads. */
  readonly programs: readonly string[];
  /** Files of this machine that come with it, by where they are in the image: what a program loads unasked, and what was made for it. */
  readonly files?: ReadonlyMap<string, string>;
  /** Files by their text. */
  readonly texts?: Readonly<Record<string, string>>;
}

/** Of the image that most containers of tests run. */
const usual: Contents = { name: 'usual', programs: ['ip', 'ping', 'iperf3'] };

/**
 * A root file system for containers as a tar, of programs that this machine has: there is no registry to ask. It is made
 * once and kept in `.cache/` for as long as these programs are the same.
 * @returns its path on the machine
 */
export async function imageTar({
  name,
  programs: named,
  files = new Map(),
  texts = {},
}: Contents = usual): Promise<string> {
  const prefix = `${PREFIX}${name}-`;
  const busybox = await which('busybox');
  const programs = await Promise.all(named.map(which));
  const libraries = [...new Set((await Promise.all([busybox, ...programs].map(librariesOf))).flat())].sort();
  const copies = new Map<string, string>([
    ...programs.map((program) => [join('bin', basename(program)), program] as const),
    ...libraries.map((library) => [library, library] as const),
    ...files,
  ]);
  const hash = createHash('sha256').update(JSON.stringify([LAYOUT, texts]));
  for (const path of [busybox, ...copies.values()]) {
    const { size, mtimeMs } = statSync(path);
    hash.update(`${path} ${size} ${mtimeMs}\n`);
  }
  const path = join(CACHE, `${prefix}${hash.digest('hex').slice(0, 12)}.tar`);
  if (existsSync(path)) return path;

  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, `.${prefix}`));
  try {
    const root = join(work, 'root');
    for (const directory of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'root', 'var/run']) {
      mkdirSync(join(root, directory), { recursive: true });
    }
    copyFileSync(busybox, join(root, 'bin/busybox'));
    for (const [to, from] of copies) {
      mkdirSync(join(root, dirname(to)), { recursive: true });
      copyFileSync(realpathSync(from), join(root, to));
    }
    for (const applet of (await exec(busybox, ['--list'])).stdout.split('\n').filter(Boolean)) {
      const at = join(root, 'bin', applet);
      if (!existsSync(at)) symlinkSync('busybox', at);
    }
    for (const [at, text] of Object.entries({ ...common, ...texts })) writeFileSync(join(root, at), text);
    await exec('tar', ['-C', root, '--owner=0', '--group=0', '-cf', join(work, 'tar'), '.'], { timeoutMs: 60_000 });
    // Whoever makes it at the same time makes the same.
    renameSync(join(work, 'tar'), path);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  for (const other of readdirSync(CACHE)) {
    if (other.startsWith(prefix) && other !== basename(path)) rmSync(join(CACHE, other), { force: true });
  }
  return path;
}

export async function which(program: string): Promise<string> {
  for (const directory of (process.env['PATH'] ?? '').split(':').concat('/usr/sbin', '/sbin')) {
    const path = join(directory, program);
    if (directory !== '' && existsSync(path)) return path;
  }
  throw new Error(`no ${program} on this machine: run deploy/prepare test`);
}

/** The loader and what it loads, as ldd(1) lists them: `libc.so.6 => /lib/… (0x…)` or `/lib64/ld-… (0x…)`. */
async function librariesOf(program: string): Promise<string[]> {
  const { stdout, exitCode } = await exec('ldd', [program], { check: false });
  // A program that is linked statically has none, and ldd fails to say so.
  if (exitCode !== 0) return [];
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1] ?? '');
}
