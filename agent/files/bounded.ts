import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';

/**
 * Reads a file that somebody else writes; a FIFO or a device in its place keeps nobody waiting.
 * @returns null when there is no such file
 * @throws for one that is larger than `maxBytes`, is no file, or may not be read
 */
export function readBounded(path: string, maxBytes: number): string | null {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    if (!fstatSync(fd).isFile()) throw new Error(`${path} is not a file`);
    const bytes = Buffer.alloc(maxBytes + 1);
    const length = readSync(fd, bytes);
    if (length > maxBytes) throw new Error(`${path} is larger than ${maxBytes} bytes`);
    return bytes.toString('utf8', 0, length);
  } finally {
    closeSync(fd);
  }
}
