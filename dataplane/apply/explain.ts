import { udpHolder } from '../listeners.ts';
import { OVERLAY_NETNS } from '../names.ts';
import { tableName } from '../nft/tables.ts';
import { tableText } from '../observe/observed.ts';
import { EADDRINUSE, EEXIST, EXFULL, SystemError } from '../rtnetlink/libc.ts';
import { NetlinkSocket } from '../rtnetlink/socket.ts';
import type { Step, Where } from '../steps.ts';
import { vxlanHolder } from './vxlan-holder.ts';

/** net/bridge/br_private.h: BR_MAX_PORTS, and number 0 is none. */
const BRIDGE_PORTS_MAX = 1023;

/** What went wrong with a step, and who is in its way where that can be seen. */
export async function explain(step: Step, error: unknown): Promise<Error> {
  const words = error instanceof Error ? error.message : String(error);
  const errno = error instanceof SystemError ? error.errno : 0;
  const why = await inTheWay(step, errno);
  return new Error(`${describe(step)}: ${words}${why === null ? '' : `; ${why}`}`, { cause: error });
}

async function inTheWay(step: Step, errno: number): Promise<string | null> {
  if (step.kind === 'vxlan-add' && errno === EEXIST) {
    const holder = (await vxlanHolder(step.port, step.vni)) ?? 'a device in a namespace that has no name';
    return `VNI ${step.vni} on UDP port ${step.port} is held by ${holder}`;
  }
  if (step.kind === 'device-set' && step.set.master !== undefined && errno === EXFULL) {
    return `${step.set.master} has the ${BRIDGE_PORTS_MAX} ports that a bridge can have, one for each endpoint of its network on this host`;
  }
  if (step.kind === 'device-set' && errno === EADDRINUSE) {
    // The device opens its UDP socket, in the host's namespace, when it comes up.
    const port = portOf(step.name);
    if (port === null) return null;
    const holder = udpHolder(port) ?? (await vxlanHolder(port)) ?? 'somebody who cannot be seen from here';
    return `UDP port ${port} is held by ${holder}; stop that, or make the cluster with another port: weft init --data-path-port`;
  }
  return null;
}

function portOf(device: string): number | null {
  try {
    using socket = NetlinkSocket.open(OVERLAY_NETNS);
    return socket.link(device).vxlan?.port ?? null;
  } catch {
    return null;
  }
}

const inside = (where: Where): string => (where === null || where === OVERLAY_NETNS ? '' : ` in ${where}`);

/** What the step does, on what, for an error message. */
export function describe(step: Step): string {
  switch (step.kind) {
    case 'netns-add':
      return `make namespace ${step.netns}`;
    case 'netns-delete':
      return `remove namespace ${step.netns}`;
    case 'quieten':
      return `switch IPv6 off in ${OVERLAY_NETNS}`;
    case 'checksums-in-software':
      return `have ${step.device} make checksums itself`;
    case 'ipv6-on':
      return `let ${step.device} hold IPv6 neighbours`;
    case 'leg-ipv6':
      return `switch IPv6 ${step.ipv6 === 'off' ? 'off' : 'on'} on ${step.name} in ${step.where ?? 'the host'}`;
    case 'forwarding-on':
      return 'switch ip_forward on';
    case 'forwarding6-on':
      return 'switch forwarding of IPv6 on';
    case 'forwarding6-off':
      return 'switch forwarding of IPv6 off';
    case 'loopback6':
      return `route ::1 dev ${step.name}`;
    case 'localnet-on':
      return `let ${step.device} carry 127.0.0.0/8`;
    case 'table-replace':
      return `replace nft table ${tableName(step.table)}${inside(step.table.where)}`;
    case 'table-delete':
      return `delete nft table ${tableName(step.table)}${inside(step.table.where)}`;
    case 'elements':
      return `change elements of nft table ${tableName(step.table)}${inside(step.table.where)}`;
    case 'entry':
      return `${step.write.op} ${'mac' in step.write ? step.write.mac : step.write.ip} on ${step.device}`;
    case 'default-route':
      return `route default via ${step.via} in ${step.where}`;
    case 'link-route':
      return `route ${step.destination} dev ${step.name} in ${step.where}`;
    case 'forward-inside':
      return `switch ${step.ipv6 ? 'forwarding of IPv6' : 'ip_forward'} ${step.on ? 'on' : 'off'} in ${step.where}`;
    case 'heed-marks':
      return `have ${step.name} in ${step.where} heed marks`;
    case 'rule-add':
    case 'rule-delete':
      return `${step.kind} ${step.rule} in ${step.where}`;
    case 'table-route':
      return `route back via ${step.via ?? 'the link'} dev ${step.name} in ${step.where}`;
    case 'table-route-delete':
      return `delete the route of table ${tableText(step)} in ${step.where}`;
    case 'address-add':
    case 'address-delete':
      return `${step.kind} ${step.address} on ${step.name} in ${step.where ?? 'the host'}`;
    case 'macvlan-add':
      return `macvlan-add ${step.name} on ${step.parent} in ${step.netns}`;
    case 'device-move':
      return `device-move ${step.name} in ${step.where ?? 'the host'} to ${step.to.name} in ${step.to.netns ?? 'the host'}`;
    case 'veth-add':
      return `veth-add ${step.name} to ${step.peerName} in ${step.peerNetns}`;
    default:
      return `${step.kind} ${step.name}`;
  }
}
