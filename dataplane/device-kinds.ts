import { randomBytes } from 'node:crypto';
import { encodeLinkDelete, encodeParentAdd } from './rtnetlink/changes.ts';
import { EEXIST, SystemError } from './rtnetlink/libc.ts';
import { NetlinkSocket } from './rtnetlink/socket.ts';
import type { IfName } from './values.ts';

// Any will do for a try, and the last one is used the least.
const TRIED_VLAN = 4094;
/** EOPNOTSUPP of rtnetlink(7): the kernel has no such kind, and no module for it. */
const EOPNOTSUPP = 95;

/**
 * True when this kernel can make devices of the kind: made, and removed at once, which is the only way to know, since the
 * kernel loads what it lacks when it is asked. @param parent of a VLAN @throws SystemError for any other reason
 */
export async function kernelMakes(kind: 'vlan' | 'dummy', parent: IfName | null): Promise<boolean> {
  using socket = NetlinkSocket.open(null);
  const name = `wt${randomBytes(6).toString('hex')}`;
  const vlan = kind === 'vlan' ? { parentIndex: socket.link(parent ?? '').ifindex, id: TRIED_VLAN } : null;
  const device = { name, mtu: null, mac: null, netnsFd: null };
  try {
    await socket.change(`try a device of kind ${kind}`, (writer, seq) => encodeParentAdd(writer, seq, device, vlan));
  } catch (error) {
    if (error instanceof SystemError && error.errno === EEXIST) return true;
    if (error instanceof SystemError && error.errno === EOPNOTSUPP) return false;
    throw error;
  }
  await socket.change(`remove ${name}`, (writer, seq) => encodeLinkDelete(writer, seq, name));
  return true;
}
