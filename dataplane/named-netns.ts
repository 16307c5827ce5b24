import { readdir } from 'node:fs/promises';
import { NETNS_DIR } from './names.ts';
import { type NetnsPath, parseNetnsPath } from './values.ts';

/** Swarm keeps its overlay devices in namespaces of its own here, and Docker those of its containers. */
const NETNS_DIRS = [NETNS_DIR, '/var/run/docker/netns'];

/** Files of namespaces that have a name; some may be none any more. */
export async function namedNamespaces(): Promise<NetnsPath[]> {
  const paths: NetnsPath[] = [];
  for (const dir of NETNS_DIRS) {
    for (const name of await readdir(dir).catch(() => [])) {
      const parsed = parseNetnsPath(`${dir}/${name}`);
      if (parsed.ok) paths.push(parsed.value);
    }
  }
  return paths;
}
