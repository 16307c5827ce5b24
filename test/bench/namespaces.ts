import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const TSX = import.meta.resolve('tsx');

/** Runs a script of tools/ in a network and mount namespace that ends with it, with a /run of its own. @returns what it printed, parsed */
export async function inNamespaces<T>(script: string, ...args: readonly string[]): Promise<T> {
  const path = fileURLToPath(new URL(`tools/${script}`, import.meta.url));
  const inside = 'mount -t tmpfs tmpfs /run && mkdir /run/netns && ip link set lo up && exec "$@"';
  const namespaces = ['--net', '--mount', '--propagation', 'private'];
  const program = [process.execPath, '--import', TSX, path, ...args];
  const { stdout } = await execa('unshare', [...namespaces, 'sh', '-c', inside, 'sh', ...program]);
  return JSON.parse(stdout) as T;
}
