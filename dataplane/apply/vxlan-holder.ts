import { readdir } from 'node:fs/promises';
import { NETNS_DIR, parseOurName } from '../names.ts';
import { decodeLink, encodeLinkDump } from '../rtnetlink/links.ts';
import { NetlinkSocket } from '../rtnetlink/socket.ts';
import { parseNetnsPath } from '../values.ts';

/** Swarm keeps its overlay devices in namespaces of its own here, and they hold a VNI of the host all the same. */
const NETNS_DIRS = [NETNS_DIR, '/var/run/docker/netns'];
/** Only to word an error; a host with more namespaces gets a less precise one. */
const NETNS_MAX = 1000;

/**
 * `VXLAN device vx0 in /run/netns/blue`: who has this VNI on this UDP port, or, without a VNI, who is not ours and has the port;
 * null when it is in no named namespace.
 */
export async function vxlanHolder(port: number, vni?: number): Promise<string | null> {
  const paths: string[] = [];
  for (const dir of NETNS_DIRS) {
    for (const name of await readdir(dir).catch(() => [])) paths.push(`${dir}/${name}`);
  }
  for (const path of [null, ...paths.slice(0, NETNS_MAX)]) {
    const netns = path === null ? null : parseNetnsPath(path);
    if (netns && !netns.ok) continue;
    try {
      using socket = NetlinkSocket.open(netns?.value ?? null);
      const links = await socket.dump('links', encodeLinkDump, decodeLink);
      const holder = links.find(
        ({ name, vxlan }) =>
          vxlan?.port === port && (vni === undefined ? parseOurName(name) === null : vxlan.vni === vni),
      );
      if (holder) return `VXLAN device ${holder.name} in ${path ?? 'the host'}`;
    } catch {
      // A file that is no namespace, or one that has just gone, holds nothing.
    }
  }
  return null;
}
