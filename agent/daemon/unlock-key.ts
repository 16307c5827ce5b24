import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

/** Name of the credential in the unit: `LoadCredentialEncrypted=weft.unlock-key` (systemd.exec(5), systemd-creds(1)). */
export const credentialName = 'weft.unlock-key';
const keyBytes = 32;

/**
 * The key that the CA's keys are sealed with on this host's disk. From systemd's credential where the unit has one,
 * else from `file`, which is made when it is missing: apart from the state directory, so that a copy of that alone
 * opens nothing.
 * @throws when the key is malformed, cannot be read, or others than root could read it
 */
export function unlockKey(file: string, environment: NodeJS.ProcessEnv): Uint8Array {
  const credentials = environment['CREDENTIALS_DIRECTORY'];
  if (credentials !== undefined) {
    const given = read(join(credentials, credentialName));
    if (given !== null) return parse(given, `the credential ${credentialName}`);
  }
  const kept = read(file);
  if (kept === null) return make(file);
  const mode = statSync(file).mode & 0o077;
  if (mode !== 0) throw new Error(`others than root may read ${file}: run chmod 600 on it`);
  return parse(kept, file);
}

function read(path: string): Buffer | null {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** 32 bytes as 64 hex digits: a key that a person can copy. */
function parse(text: Buffer, source: string): Uint8Array {
  const hex = text.toString('latin1').trim();
  if (!/^[0-9a-f]{64}$/i.test(hex)) throw new Error(`${source} is no unlock key: want 64 hex digits`);
  return Buffer.from(hex, 'hex');
}

function make(file: string): Uint8Array {
  const key = randomBytes(keyBytes);
  const draft = `${file}.new`;
  // Whole or not at all, and on disk before anything is sealed with it.
  const handle = openSync(draft, constants.O_CREAT | constants.O_WRONLY | constants.O_TRUNC, 0o600);
  try {
    fchmodSync(handle, 0o600);
    writeSync(handle, `${key.toString('hex')}\n`);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
  renameSync(draft, file);
  const folder = openSync(join(file, '..'), constants.O_RDONLY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
  return key;
}
