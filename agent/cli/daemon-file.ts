import { lstat, open, readFile, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import { parseIp } from '../../dataplane/values.ts';
import type { Ours } from '../docker/daemon-json.ts';
import { exitCodes, Failure } from './failure.ts';

const maxBytes = 1 << 20;

/** A file as it is now. */
export interface FileState {
  /** Behind all symlinks. */
  readonly path: string;
  /** null: there is none. */
  readonly text: string | null;
  /** What a new one is to have. */
  readonly mode: number;
  readonly owner: { readonly uid: number; readonly gid: number } | null;
}

/** @throws Failure that names the file and what is wrong with it */
export async function readFileState(path: string): Promise<FileState> {
  try {
    const real = await realpath(path);
    const found = await stat(real);
    const { mode, uid, gid, size } = found;
    if (!found.isFile()) throw unusable(path, 'it is no regular file');
    if (size > maxBytes) throw unusable(path, `it is larger than ${maxBytes} bytes`);
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(await readFile(real));
    return { path: real, text, mode: mode & 0o7777, owner: { uid, gid } };
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (error instanceof TypeError) throw unusable(path, 'it is not UTF-8');
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw fileFailure('read', path, error);
  }
  if (await isThere(path)) throw unusable(path, 'it is a symlink that leads nowhere');
  const directory = await realpath(dirname(path)).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      throw unusable(
        path,
        `there is no directory ${dirname(path)}`,
        'is Docker installed here? Or name its file with --file',
      );
    }
    throw fileFailure('read', path, error);
  });
  return { path: join(directory, basename(path)), text: null, mode: 0o644, owner: null };
}

/** Puts `text` in the place of a file, whole or not at all; null: removes it. What has changed meanwhile is left alone. */
export async function replaceFile({ path, text: before, mode, owner }: FileState, text: string | null): Promise<void> {
  if ((await readFileState(path)).text !== before) {
    throw new Failure(
      exitCodes.failed,
      'file_changed',
      `${path} was changed by somebody else meanwhile`,
      'run it again',
    );
  }
  try {
    if (text === null) await unlink(path);
    else await writeBeside(path, text, mode, owner);
    const directory = await open(dirname(path), 'r');
    await directory.sync().finally(() => directory.close());
  } catch (error) {
    if (text !== null || (error as NodeJS.ErrnoException).code !== 'ENOENT') throw fileFailure('write', path, error);
  }
}

async function writeBeside(path: string, text: string, mode: number, owner: FileState['owner']): Promise<void> {
  const beside = join(dirname(path), `.${basename(path)}.${process.pid}`);
  try {
    const file = await open(beside, 'wx', 0o600);
    try {
      if (owner !== null) await file.chown(owner.uid, owner.gid);
      await file.chmod(mode);
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await unlink(beside).catch(() => {});
    throw error;
  }
}

const isThere = (path: string): Promise<boolean> =>
  lstat(path).then(
    () => true,
    () => false,
  );

const StoredOurs = z.strictObject({
  address: z.string().refine((text) => parseIp(text).ok),
  madeKey: z.boolean(),
  madeFile: z.boolean(),
});

/**
 * What was added to a file, kept beside it: so undoing needs no agent, and no cluster, whose subnets may have changed.
 * @param text of that record
 */
export function readOurs({ path, text }: FileState): Ours | null {
  if (text === null) return null;
  try {
    return StoredOurs.parse(JSON.parse(text));
  } catch {
    throw unusable(
      path,
      'it is not what `weft docker setup` writes',
      'remove it, and our entry in daemon.json by hand',
    );
  }
}

export function unusable(
  path: string,
  reason: string,
  hint = 'nothing was changed; repair it, or name another with --file',
): Failure {
  return new Failure(exitCodes.failed, 'unusable_file', `${path} cannot be used: ${reason}`, hint);
}

function fileFailure(verb: string, path: string, error: unknown): Failure {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EACCES' || code === 'EPERM') {
    return new Failure(exitCodes.unreachable, 'no_permission', `no permission to ${verb} ${path}`, 'run it with sudo');
  }
  return new Failure(exitCodes.failed, 'file_failed', `${verb} ${path}: ${message}`, 'nothing was changed');
}
