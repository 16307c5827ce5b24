import { fileURLToPath } from 'node:url';
import type { Host, LabSandbox } from './host.ts';
import type { Inside } from './inside.ts';

const tool = (name: string): string => fileURLToPath(new URL(`tools/${name}.mjs`, import.meta.url));

/** Has a program in a sandbox answer on a TCP and a UDP port, by the sandbox's name; resolves when it listens. */
export async function answerIn(sandbox: LabSandbox, port: number): Promise<Inside> {
  const args = [`--net=${sandbox.info.NetnsPath}`, '--', process.execPath, tool('answer'), sandbox.name, String(port)];
  const answering = await sandbox.host.spawn('nsenter', args);
  await answering.says(/^listening$/m);
  return answering;
}

/** `NAME ADDRESS`: who answers, and the address that it sees the question come from; '' when nobody does within a second. */
export async function ask(
  from: Host | LabSandbox,
  address: string,
  port: number,
  protocol: 'tcp' | 'udp' = 'tcp',
): Promise<string> {
  const args = [tool('ask'), protocol, address, String(port)];
  return (await from.exec(process.execPath, args, { check: false })).stdout;
}
