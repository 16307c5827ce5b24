import type { DesiredBridge } from '../../dataplane/desired.ts';
import { hostBridgeName } from '../../dataplane/names.ts';
import { type IfName, must, parseCidr, parseIfName, parseIp, parseMac } from '../../dataplane/values.ts';
import { mtuOption } from '../mtu.ts';
import { withPrefixLength } from './addresses.ts';
import { type LocalDriver, wantBool, wantIfName, wantMtu } from './driver.ts';
import type { LocalNetwork } from './local-network.ts';

// Docker's names (moby, libnetwork/drivers/bridge/labels.go).
const nameOption = 'com.docker.network.bridge.name';
const iccOption = 'com.docker.network.bridge.enable_icc';
const masqueradeOption = 'com.docker.network.bridge.enable_ip_masquerade';
/** Address of the host that ports are published at which name none. */
export const hostBindingOption = 'com.docker.network.bridge.host_binding_ipv4';
const mtuDefault = 1500;

const mtuOf = ({ options }: LocalNetwork): number => Number(options[mtuOption] ?? mtuDefault);

/** A bridge of the host that a network is to use, made by whoever; null for one of its own. */
export function bridgeNameOf({ options }: LocalNetwork): IfName | null {
  const given = options[nameOption];
  return given === undefined ? null : must(parseIfName(given));
}

const bridgeOf = (network: LocalNetwork): IfName => bridgeNameOf(network) ?? hostBridgeName(network.id);

/** A bridge on the host with a subnet of its own; out by the host's address. */
export const bridge: LocalDriver = {
  name: 'bridge',
  scope: 'local',
  predefined: false,
  addressed: true,
  routed: true,
  exclusive: null,
  publishes: true,
  options: {
    [nameOption]: wantIfName,
    [iccOption]: wantBool,
    [masqueradeOption]: wantBool,
    [hostBindingOption]: (value) => (parseIp(value).ok && !value.includes(':') ? null : 'want an IPv4 address'),
    [mtuOption]: wantMtu,
  },
  leadsOut: ({ internal }) => !internal,
  mtuOf,
  plan(network) {
    const { ipam, options, internal } = network;
    if (ipam === null) return {};
    const wanted: DesiredBridge = {
      name: bridgeOf(network),
      address: must(parseCidr(withPrefixLength(ipam, ipam.gateway))),
      icc: options[iccOption] !== 'false',
      masquerade: options[masqueradeOption] !== 'false',
      internal,
    };
    return { bridges: [wanted] };
  },
  planLeg(network, { endpointId, ifName, mac, ip }) {
    if (network.ipam === null || ifName === null || mac === null || ip === null) return {};
    const leg = {
      endpointId,
      ifName: must(parseIfName(ifName)),
      mac: must(parseMac(mac)),
      mtu: mtuOf(network),
      addresses: [must(parseCidr(withPrefixLength(network.ipam, ip)))],
    };
    return { bridgeLeg: { ...leg, bridge: bridgeOf(network) } };
  },
};
