import { readFileSync } from 'node:fs';
import { LocalClient } from '../api/client.ts';
import { CniError, codes, failureOf } from './failure.ts';
import { type Call, commandOf, type Environment, parseCall } from './request.ts';
import { add, check, del, gc, status } from './verbs.ts';
import { isSupported, newest, supportedVersions } from './versions.ts';

/** What a call touches of its process. */
export interface Io {
  readonly env: Environment;
  readonly stdin: AsyncIterable<Uint8Array | string>;
  /** Of the agent, unless the configuration names another. */
  readonly socketPath: string;
}

/** A configuration with a long list of what GC is to leave is some 100 bytes an interface. */
const stdinMaxBytes = 1024 * 1024;

/** Serves one call of a runtime. @returns what belongs on stdout, and the exit code */
export async function run(io: Io): Promise<{ stdout: string; exitCode: number }> {
  let text = '';
  try {
    // Before stdin is waited for: somebody may have started this by hand.
    commandOf(io.env);
    text = await bounded(io.stdin);
    const answer = await serve(parseCall(io.env, text), io.socketPath);
    return { stdout: answer === null ? '' : `${JSON.stringify(answer)}\n`, exitCode: 0 };
  } catch (error) {
    const { code, msg, details } = failureOf(error);
    const failure = { cniVersion: versionGiven(text), code, msg, ...(details === '' ? {} : { details }) };
    return { stdout: `${JSON.stringify(failure)}\n`, exitCode: 1 };
  }
}

async function serve(call: Call, socketPath: string): Promise<object | null> {
  if (call.command === 'VERSION') return { cniVersion: call.version, supportedVersions };
  const client = new LocalClient({ socketPath: call.socket ?? socketPath });
  switch (call.command) {
    case 'ADD':
      return await add(client, call, textOf);
    case 'DEL':
      await del(client, call);
      return null;
    case 'CHECK':
      await check(client, call);
      return null;
    case 'GC':
      await gc(client, call);
      return null;
    case 'STATUS':
      await status(client, call);
      return null;
  }
}

async function bounded(stdin: Io['stdin']): Promise<string> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  for await (const chunk of stdin) {
    const bytes = Buffer.from(chunk as Uint8Array);
    sizeBytes += bytes.length;
    if (sizeBytes > stdinMaxBytes) {
      throw new CniError(codes.notDecoded, `the network configuration is longer than ${stdinMaxBytes} bytes`);
    }
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The sandbox's file, which says what is told of DNS; the result is good without. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** A runtime wants its own version back, also with a failure. */
function versionGiven(text: string): string {
  try {
    const { cniVersion } = JSON.parse(text) as { cniVersion?: unknown };
    return isSupported(cniVersion) ? cniVersion : newest;
  } catch {
    return newest;
  }
}
