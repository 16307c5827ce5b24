import type {
  Backend,
  BridgeLeg,
  Desired,
  DesiredBridge,
  DesiredGuard,
  DesiredOverlay,
  DesiredParent,
  DesiredSandbox,
  DirectLeg,
  GatePort,
  HostLeg,
  MacvlanMode,
  PublishedPort,
  RemoteEndpoint,
  ReturnPath,
} from '../../../dataplane/desired.ts';
import { gateAddresses6 } from '../../../dataplane/gateway-subnet.ts';
import { hostBridgeName, hostParentName } from '../../../dataplane/names.ts';
import {
  must,
  parseCidr,
  parseIfName,
  parseIp,
  parseMac,
  parseNetnsPath,
  parseVni,
} from '../../../dataplane/values.ts';

// Short ways to write wanted states. Endpoint n has IP .n, MAC ending in n, and an id that starts with n.

export const PORT = 4789;
export const MTU = 1450;
export const GATEWAY: DesiredBridge = {
  name: must(parseIfName('docker_gwbridge')),
  address: must(parseCidr('172.18.0.1/16')),
  icc: false,
  masquerade: true,
  internal: false,
};
/** That of a bridge network, whose sandboxes reach each other. */
export const BRIDGE: DesiredBridge = {
  ...GATEWAY,
  name: hostBridgeName('abcdefghijklmnopqrstuvwxy'),
  address: must(parseCidr('172.30.0.1/24')),
  icc: true,
};

export const endpointId = (vni: number, n: number): string =>
  `${vni.toString(16).padStart(6, '0')}${n.toString(16).padStart(6, '0')}`.padEnd(64, '0');
const byte = (n: number): string => (n & 0xff).toString(16).padStart(2, '0');
export const macOf = (vni: number, n: number) =>
  must(parseMac(`02:42:${byte(vni >> 8)}:${byte(vni)}:${byte(n >> 8)}:${byte(n)}`));
export const vteps = { a: must(parseIp('10.99.0.1')), b: must(parseIp('10.99.0.2')) };

export function remote(vni: number, n: number, vtep: 'a' | 'b'): RemoteEndpoint {
  return { ip: must(parseIp(`10.0.${n >> 8}.${n & 0xff}`)), mac: macOf(vni, n), vtep: vteps[vtep] };
}

/** The same endpoint by its IPv6 address. */
export function remote6(vni: number, n: number, vtep: 'a' | 'b'): RemoteEndpoint {
  return { ...remote(vni, n, vtep), ip: must(parseIp(`fd00::${n.toString(16)}`)) };
}

export function overlay(vni: number, on: 'a' | 'b', remotes: readonly RemoteEndpoint[] = []): DesiredOverlay {
  return { vni: must(parseVni(vni)), vtep: vteps[on], port: PORT, mtu: MTU, softwareChecksums: false, remotes };
}

/** The other of the two hosts is the only member. */
export function guard(on: 'a' | 'b', vnis: readonly number[]): DesiredGuard {
  return { port: PORT, vteps: [vteps[on === 'a' ? 'b' : 'a']], vnis: vnis.map((vni) => must(parseVni(vni))) };
}

/** A namespace of ours, `weft-NAME`, with one leg eth0, eth1, … for each VNI, as endpoint n of each; and perhaps a gateway leg after them. */
export function sandbox(name: string, n: number, vnis: readonly number[], gateway = false): DesiredSandbox {
  return {
    id: name,
    netns: must(parseNetnsPath(`/run/netns/weft-${name}`)),
    owned: true,
    overlayLegs: vnis.map((vni, index) => ({
      endpointId: endpointId(vni, n),
      ifName: must(parseIfName(`eth${index}`)),
      mac: macOf(vni, n),
      mtu: MTU,
      vni: must(parseVni(vni)),
      addresses: [must(parseCidr(`10.0.${n >> 8}.${n & 0xff}/16`))],
      onLink: [],
    })),
    directLegs: [],
    bridgeLegs: gateway
      ? [
          {
            endpointId: endpointId(0, n),
            ifName: must(parseIfName(`eth${vnis.length}`)),
            mac: macOf(0, n),
            mtu: 1500,
            addresses: [must(parseCidr(`172.18.1.${n}/16`))],
            bridge: GATEWAY.name,
            isDefault: true,
            published: [],
          },
        ]
      : [],
  };
}

/** The same, as number n of the bridge network besides, and with ports of the host that lead to it there. */
export function bridged(box: DesiredSandbox, n: number, published: readonly PublishedPort[] = []): DesiredSandbox {
  const leg: BridgeLeg = {
    endpointId: endpointId(1, n),
    ifName: must(parseIfName(`eth${box.overlayLegs.length + box.bridgeLegs.length}`)),
    mac: macOf(1, n),
    mtu: 1500,
    addresses: [must(parseCidr(`172.30.0.${n + 1}/24`))],
    bridge: BRIDGE.name,
    isDefault: box.bridgeLegs.length === 0,
    published,
  };
  return { ...box, bridgeLegs: [...box.bridgeLegs, leg] };
}

/** A device that macvlan legs hang on where the host has none for them. */
export const PARENT: DesiredParent = { kind: 'dummy', name: hostParentName('abcdefghijklmnopqrstuvwxy') };

/** The same, as number n of a macvlan network besides. */
export function hung(box: DesiredSandbox, n: number, mode: MacvlanMode, parent = PARENT.name): DesiredSandbox {
  const others = box.overlayLegs.length + box.bridgeLegs.length;
  const leg: DirectLeg = {
    endpointId: endpointId(2, n),
    ifName: must(parseIfName(`eth${others}`)),
    mac: macOf(2, n),
    mtu: null,
    addresses: [must(parseCidr(`172.29.0.${n + 1}/24`))],
    onLink: [],
    defaultVia: box.bridgeLegs.length === 0 ? must(parseIp('172.29.0.1')) : null,
    source: { kind: 'macvlan', parent, mode },
  };
  return { ...box, directLegs: [leg] };
}

/** Endpoint n of network 4097, at port 80. */
export const backend = (n: number): Backend => ({ ip: must(parseIp(`10.0.${n >> 8}.${n & 0xff}`)), port: 80 });

/** The same by its IPv6 address. */
export const backend6 = (n: number): Backend => ({ ip: must(parseIp(`fd00::${n.toString(16)}`)), port: 80 });

/** The same, with a leg to the host besides. */
export const withHostLeg = (
  box: DesiredSandbox,
  n: number,
  published: readonly PublishedPort[] = [],
): DesiredSandbox => {
  const { host, gate } = gateAddresses6(must(parseCidr('fdaa:bbcc:dd00::/64')));
  const hostLeg: HostLeg = {
    ...{ endpointId: endpointId(3, n), ifName: must(parseIfName('host0')), mac: macOf(3, n), mtu: 1500 },
    ...{ addresses: [gate], hostAddress: host, published },
  };
  return { ...box, hostLeg };
};

/** The same, as a gate to its first network. */
export const gateOf = (box: DesiredSandbox, ports: readonly GatePort[]): DesiredSandbox => ({
  ...box,
  gate: { legIfName: must(parseIfName('eth0')), ports },
});

/** The same, as a backend of its first network, where these endpoints are gates. */
export function returning(box: DesiredSandbox, gates: readonly number[]): DesiredSandbox {
  const [leg] = box.overlayLegs;
  if (!leg) throw new Error(`${box.id} is on no network`);
  const returns: ReturnPath = {
    mac: leg.mac,
    gates: gates.map((n) => ({ mac: macOf(leg.vni, n), ip: backend(n).ip })),
  };
  return { ...box, returns };
}

/** The same, where the gates have IPv6, too. */
export function returning6(box: DesiredSandbox, gates: readonly number[]): DesiredSandbox {
  const { returns, ...rest } = returning(box, gates);
  if (!returns) throw new Error(`${box.id} is no backend`);
  return {
    ...rest,
    returns: { ...returns, gates: returns.gates.map((gate, at) => ({ ...gate, ip6: backend6(gates[at] ?? 0).ip })) },
  };
}

/** The same, whose networks have one more subnet each. */
export function widened(box: DesiredSandbox): DesiredSandbox {
  const overlayLegs = box.overlayLegs.map((leg, i) => {
    const six = leg.addresses.some((address) => address.includes(':'));
    const onLink = [`10.${100 + i}.0.0/24`, ...(six ? [`fd01:${i}::/64`] : [])].map((text) => must(parseCidr(text)));
    return { ...leg, onLink };
  });
  return { ...box, overlayLegs };
}

/** The same, whose networks have IPv6 besides IPv4, or alone. */
export function withIpv6(box: DesiredSandbox, alone = false): DesiredSandbox {
  const overlayLegs = box.overlayLegs.map((leg) => {
    const n = Number.parseInt(leg.endpointId.slice(6, 12), 16);
    const six = must(parseCidr(`fd00::${n.toString(16)}/64`));
    return { ...leg, addresses: alone ? [six] : [...leg.addresses, six] };
  });
  return { ...box, overlayLegs };
}

export function wanted(parts: Partial<Desired>): Desired {
  return { overlays: [], sandboxes: [], bridges: [], parents: [], guard: null, agentPorts: [], ...parts };
}
