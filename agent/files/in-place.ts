import { closeSync, constants, fchmodSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';

const mode = 0o644;
/** More than any file that we write; of a file that somebody else made larger, the rest is cut. */
const maxPaddedBytes = 1024 * 1024;

/**
 * Makes a file hold a text, as the same inode, so that those who have it bound elsewhere see the change: a file that is
 * renamed into place would leave them with the old one. Readers never find it empty or cut: the text goes out in one write,
 * padded with blank lines (which mean nothing in any of our files) over what was longer, and only then the file is cut.
 * @throws an error of node:fs; ELOOP for a symbolic link, which is not ours
 */
export function writeInPlace(path: string, text: string): void {
  const bytes = Buffer.from(text);
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, mode);
  try {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw new Error(`${path} is not a file`);
    // Also when it is new: the agent's umask hides what it makes.
    if ((stat.mode & 0o7777) !== mode) fchmodSync(fd, mode);
    if (stat.size === bytes.length && holds(fd, bytes)) return;
    const padding = Math.max(0, Math.min(stat.size, maxPaddedBytes) - bytes.length);
    const padded = Buffer.concat([bytes, Buffer.alloc(padding, '\n')]);
    const written = writeSync(fd, padded, 0, padded.length, 0);
    if (written < padded.length) throw new Error(`only ${written} of ${padded.length} bytes went to ${path}`);
    if (stat.size > bytes.length) ftruncateSync(fd, bytes.length);
  } finally {
    closeSync(fd);
  }
}

function holds(fd: number, bytes: Buffer): boolean {
  const there = Buffer.alloc(bytes.length);
  return readSync(fd, there, 0, there.length, 0) === bytes.length && there.equals(bytes);
}
