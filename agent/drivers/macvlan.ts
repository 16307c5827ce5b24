import { type DesiredParent, MACVLAN_MODES, type MacvlanMode } from '../../dataplane/desired.ts';
import { kernelMakes } from '../../dataplane/device-kinds.ts';
import { deviceNamed } from '../../dataplane/interfaces.ts';
import { hostParentName } from '../../dataplane/names.ts';
import { type IfName, must, parseCidr, parseIfName, parseIp, parseMac } from '../../dataplane/values.ts';
import { mtuOption } from '../mtu.ts';
import { withPrefixLength } from './addresses.ts';
import { type LocalDriver, wantIfName, wantMtu } from './driver.ts';
import type { LocalNetwork } from './local-network.ts';

// Docker's names (moby, libnetwork/drivers/macvlan).
const parentOption = 'parent';
const modeOption = 'macvlan_mode';

/** That of its parent unless it is set. */
const mtuOf = ({ options }: LocalNetwork): number | null =>
  options[mtuOption] === undefined ? null : Number(options[mtuOption]);

const isMode = (text: string): text is MacvlanMode => (MACVLAN_MODES as readonly string[]).includes(text);

const modeOf = ({ options }: LocalNetwork): MacvlanMode => {
  const given = options[modeOption] ?? 'bridge';
  return isMode(given) ? given : 'bridge';
};

/** Without one, a device that leads nowhere: the network is of this host alone. */
const parentOf = ({ id, options }: LocalNetwork): IfName => {
  const given = options[parentOption];
  return given === undefined ? hostParentName(id) : must(parseIfName(given));
};

/** `eth0.20` is VLAN 20 of eth0, as Docker reads it; null for a plain name. */
function vlanOf(name: IfName): (DesiredParent & { readonly kind: 'vlan' }) | null {
  const match = /^(.+)\.([1-9]\d{0,3})$/.exec(name);
  const parent = parseIfName(match?.[1] ?? '');
  const id = Number(match?.[2]);
  return parent.ok && id >= 1 && id <= 4094 ? { kind: 'vlan', name, parent: parent.value, id } : null;
}

/** Sandboxes with addresses on a network of the host's own, each as if it had a network card there. */
export const macvlan: LocalDriver = {
  name: 'macvlan',
  scope: 'local',
  predefined: false,
  addressed: true,
  // What its parent leads to has that subnet, and the host may well have an address in it.
  routed: false,
  exclusive: null,
  publishes: false,
  options: {
    [parentOption]: wantIfName,
    [modeOption]: (value) => (isMode(value) ? null : `want one of ${MACVLAN_MODES.join(', ')}`),
    [mtuOption]: wantMtu,
  },
  async refusal(network, others) {
    const parent = parentOf(network);
    const other = others.find((each) => each.driver === network.driver && parentOf(each) === parent);
    // As Docker does: endpoints of two networks on one parent would be on one wire.
    if (other !== undefined) return `network ${other.name} is on parent interface ${parent} already`;
    if (network.options[parentOption] === undefined) {
      if (await kernelMakes('dummy', null)) return null;
      return 'a macvlan network without -o parent=… hangs on a dummy device, which this kernel cannot make: give a parent';
    }
    if ((await deviceNamed(parent)) !== null) return null;
    const vlan = vlanOf(parent);
    if (vlan === null) return `there is no device ${parent} on this host`;
    if ((await deviceNamed(vlan.parent)) === null) return `there is no device ${vlan.parent} on this host`;
    if (await kernelMakes('vlan', vlan.parent)) return null;
    return `${parent} is VLAN ${vlan.id} of ${vlan.parent}, and this kernel has no VLANs (802.1Q): give a device that is there`;
  },
  leadsOut: ({ internal, options }) => !internal && options[parentOption] !== undefined,
  mtuOf,
  plan(network) {
    const name = parentOf(network);
    const parent: DesiredParent | null =
      network.options[parentOption] === undefined ? { kind: 'dummy', name } : vlanOf(name);
    return { parents: parent === null ? [] : [parent] };
  },
  planLeg(network, { endpointId, ifName, mac, ip }) {
    if (network.ipam === null || ifName === null || mac === null || ip === null) return {};
    const directLeg = {
      endpointId,
      ifName: must(parseIfName(ifName)),
      mac: must(parseMac(mac)),
      mtu: mtuOf(network),
      addresses: [must(parseCidr(withPrefixLength(network.ipam, ip)))],
      onLink: [],
      defaultVia: must(parseIp(network.ipam.gateway)),
      source: { kind: 'macvlan', parent: parentOf(network), mode: modeOf(network) } as const,
    };
    return { directLeg };
  },
};
