import { fileURLToPath } from 'node:url';
import type { Host, LabSandbox } from './host.ts';
import type { Inside } from './inside.ts';

const WHO = fileURLToPath(new URL('tools/who.mjs', import.meta.url));

/** Has a program in a sandbox answer on a TCP and a UDP port; resolves when it listens. Connections stay until the client ends them. */
export async function serveIn(sandbox: LabSandbox, port: number): Promise<Inside> {
  const args = [`--net=${sandbox.info.NetnsPath}`, '--', process.execPath, WHO, 'serve', sandbox.name, String(port)];
  const serving = await sandbox.host.spawn('nsenter', args);
  await serving.says(/^listening$/m);
  return serving;
}

/**
 * Many connections, one question each, some at once.
 * @returns how often each answer came: `NAME ADDRESS`, the address as the service sees it, or what went wrong
 */
export async function tally(
  from: Host | LabSandbox,
  address: string,
  port: number,
  count: number,
  protocol: 'tcp' | 'udp' = 'tcp',
): Promise<Record<string, number>> {
  const args = [WHO, 'tally', protocol, address, String(port), String(count)];
  return JSON.parse((await from.exec(process.execPath, args, { timeoutMs: 60_000 })).stdout);
}
