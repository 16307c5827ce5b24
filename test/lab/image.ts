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

const CACHE = fileURLToPath(new URL('../../.cache/', import.meta.url));
const PREFIX = 'lab-image-';
/** What containers find besides the applets of busybox, in whose place they come. */
const PROGRAMS = ['ip', 'ping', 'iperf3'] as const;
// Of what is below, so that an image of another make is not taken for this one.
const LAYOUT = 1;

/**
 * A root file system for containers as a tar, of programs that this machine has: there is no registry to ask. It is made
 * once and kept in `.cache/` for as long as these programs are the same.
 * @returns its path on the machine
 */
export async function imageTar(): Promise<string> {
  const busybox = await which('busybox');
  const programs = await Promise.all(PROGRAMS.map(which));
  const libraries = [...new Set((await Promise.all([busybox, ...programs].map(librariesOf))).flat())].sort();
  const hash = createHash('sha256').update(`${LAYOUT}`);
  for (const path of [busybox, ...programs, ...libraries]) {
    const { size, mtimeMs } = statSync(path);
    hash.update(`${path} ${size} ${mtimeMs}\n`);
  }
  const path = join(CACHE, `${PREFIX}${hash.digest('hex').slice(0, 12)}.tar`);
  if (existsSync(path)) return path;

  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, `.${PREFIX}`));
  try {
    const root = join(work, 'root');
    for (const name of ['bin', 'etc', 'proc', 'sys', 'dev', 'tmp', 'root', 'var/run']) {
      mkdirSync(join(root, name), { recursive: true });
    }
    copyFileSync(busybox, join(root, 'bin/busybox'));
    for (const program of programs) copyFileSync(realpathSync(program), join(root, 'bin', basename(program)));
    for (const library of libraries) {
      mkdirSync(join(root, dirname(library)), { recursive: true });
      copyFileSync(realpathSync(library), join(root, library));
    }
    for (const applet of (await exec(busybox, ['--list'])).stdout.split('\n').filter(Boolean)) {
      const at = join(root, 'bin', applet);
      if (!existsSync(at)) symlinkSync('busybox', at);
    }
    writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
    writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
    await exec('tar', ['-C', root, '--owner=0', '--group=0', '-cf', join(work, 'tar'), '.'], { timeoutMs: 60_000 });
    // Whoever makes it at the same time makes the same.
    renameSync(join(work, 'tar'), path);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
  for (const name of readdirSync(CACHE)) {
    if (name.startsWith(PREFIX) && name !== basename(path)) rmSync(join(CACHE, name));
  }
  return path;
}

async function which(program: string): Promise<string> {
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
