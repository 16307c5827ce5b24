import { fileURLToPath } from 'node:url';
import type { LabSandbox } from './host.ts';

const TCP = fileURLToPath(new URL('tools/tcp.mjs', import.meta.url));
const BYTES = 2_000_000;

/** Sends over TCP and has the other side check what it got. */
export async function transfers(from: LabSandbox, to: LabSandbox, address: string): Promise<boolean> {
  const command = [process.execPath, TCP, 'serve', '5001', address];
  const server = await to.host.spawn('nsenter', [`--net=${to.info.NetnsPath}`, '--', ...command]);
  await server.says(/listening/);
  const sent = await from.exec(process.execPath, [TCP, 'send', address, '5001', String(BYTES)], { check: false });
  await server.end('SIGTERM');
  return sent.exitCode === 0;
}
