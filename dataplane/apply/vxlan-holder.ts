import { namedNamespaces } from '../named-netns.ts';
import { parseOurName } from '../names.ts';
import { decodeLink, encodeLinkDump } from '../rtnetlink/links.ts';
import { NetlinkSocket } from '../rtnetlink/socket.ts';

/** Only to word an error; a host with more namespaces gets a less precise one. */
const NETNS_MAX = 1000;

/**
 * `VXLAN device vx0 in /run/netns/blue`: who has this VNI on this UDP port, or, without a VNI, who is not ours and has the port;
 * null when it is in no named namespace.
 */
export async function vxlanHolder(port: number, vni?: number): Promise<string | null> {
  // Those of a Swarm hold a VNI of the host all the same.
  for (const path of [null, ...(await namedNamespaces()).slice(0, NETNS_MAX)]) {
    try {
      using socket = NetlinkSocket.open(path);
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
