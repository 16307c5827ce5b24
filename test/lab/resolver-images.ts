import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Docker } from './docker.ts';
import { CACHE, imageTar, which } from './image.ts';
import { exec } from './process.ts';

const source = fileURLToPath(new URL('tools/resolve.c', import.meta.url));

/** A C library whose resolver a container has, as programs in an image of that library do. */
export interface Libc {
  readonly name: 'musl' | 'glibc';
  readonly image: string;
  /** A program with its arguments that shows what getaddrinfo(3) finds for a name: addresses, each at the start of a line. */
  readonly resolve: (name: string) => readonly [program: string, ...args: string[]];
}

/** As of Alpine: nothing but busybox, and a program linked with musl. */
export const musl: Libc = { name: 'musl', image: 'lab-musl:latest', resolve: (name) => ['/bin/resolve', name] };
/** As of Debian: its getent, libc, and what that loads to look names up. */
export const glibc: Libc = { name: 'glibc', image: 'lab-glibc:latest', resolve: (name) => ['getent', 'ahosts', name] };

/** Makes both images in a Docker. */
export async function importResolverImages(docker: Docker): Promise<void> {
  const tars = [await muslTar(), await glibcTar()];
  for (const [at, { image }] of [musl, glibc].entries()) {
    await docker.exec(['import', '--change', 'CMD ["sleep", "1000000"]', tars[at] ?? '', image]);
  }
}

async function muslTar(): Promise<string> {
  const compiler = await which('musl-gcc');
  const program = join(CACHE, 'resolve-musl');
  // As good as new: nobody edits a compiler.
  if (!existsSync(program) || statSync(program).mtimeMs < statSync(source).mtimeMs) {
    mkdirSync(CACHE, { recursive: true });
    const work = mkdtempSync(join(CACHE, '.resolve-'));
    try {
      const made = join(work, 'resolve');
      await exec(compiler, ['-static', '-Os', '-o', made, source], { timeoutMs: 60_000 });
      renameSync(made, program);
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  return await imageTar({ name: 'musl', programs: [], files: new Map([['bin/resolve', program]]) });
}

async function glibcTar(): Promise<string> {
  const getent = await which('getent');
  const { stdout } = await exec('ldd', [getent]);
  const libc = /(\/\S+\/libc\.so\.6) \(0x/.exec(stdout)?.[1];
  if (libc === undefined) throw new Error(`${getent} of this machine is not linked with glibc`);
  // Before 2.34 it loaded these to read files and to ask nameservers; since then it has both in itself.
  const loaded = ['libnss_files.so.2', 'libnss_dns.so.2', 'libresolv.so.2'].map((name) => join(dirname(libc), name));
  return await imageTar({
    name: 'glibc',
    programs: ['getent'],
    files: new Map(loaded.filter((path) => existsSync(path)).map((path) => [path, path])),
    texts: { 'etc/nsswitch.conf': 'hosts: files dns\n' },
  });
}
