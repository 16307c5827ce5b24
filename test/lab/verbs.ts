import assert from 'node:assert/strict';
import type { Sandbox } from '../../agent/api/schema.ts';
import { type Host, LabSandbox } from './host.ts';

/** `weft sandbox create` with these words. */
export const createSandbox = async (host: Host, ...args: string[]): Promise<LabSandbox> =>
  new LabSandbox(host, await host.weftJson<Sandbox>('sandbox', 'create', ...args));

/** What `weft` says when it refuses these words. */
export async function refusal(host: Host, ...args: string[]): Promise<string> {
  const { exitCode, stderr } = await host.weft(...args);
  assert.equal(exitCode, 1, `weft ${args.join(' ')} was not refused`);
  return stderr;
}

/** Whether an echo is answered. */
export const reaches = async (from: LabSandbox, address: string): Promise<boolean> =>
  (await from.ping(address, { count: 1 })).received === 1;
