import type { Cidr, IfName, Ip, Mac, NetnsPath, Vni } from './values.ts';

/**
 * The whole state the kernel should be in. The agent's `plan()` makes it from the tables; the data plane lists the
 * kernel into the same shape, takes the difference and applies it. Plain data: no method, no handle, no time.
 */
export interface Desired {
  /** One per network that has an endpoint on this host: a bridge and a VXLAN device in the `weft` netns. */
  readonly overlays: readonly DesiredOverlay[];
  /** Every sandbox on this host, with the legs (interfaces) it must have. */
  readonly sandboxes: readonly DesiredSandbox[];
  /** In the host's netns: docker_gwbridge from init or join on, and one for each bridge network of this host. */
  readonly bridges: readonly DesiredBridge[];
  /** Devices of the host that legs hang on, where nobody else has made them. */
  readonly parents: readonly DesiredParent[];
  /** Who may send frames to this host's overlays; null before init or join. */
  readonly guard: DesiredGuard | null;
  /** TCP ports at which the agents of the cluster reach each other; none before init or join. */
  readonly agentPorts: readonly number[];
}

export interface DesiredGuard {
  /** UDP port of all VXLAN devices of the cluster. */
  readonly port: number;
  /** VTEPs of all other members. */
  readonly vteps: readonly Ip[];
  /** All networks of the cluster, so that those that come to this host later are guarded before they do. */
  readonly vnis: readonly Vni[];
}

export interface DesiredOverlay {
  /** VXLAN network id; names the devices, and is what legs refer to. */
  readonly vni: Vni;
  /** This host's VTEP: the `local` address of the VXLAN device. */
  readonly vtep: Ip;
  /** UDP destination port of the VXLAN device, 4789 unless set at init. */
  readonly port: number;
  /** Bytes; underlay MTU less the VXLAN overhead (50 over IPv4, 70 over IPv6). */
  readonly mtu: number;
  /** Checksums are made before packets leave the overlay, and not left to a network card that spoils those inside VXLAN. */
  readonly softwareChecksums: boolean;
  /** Every endpoint of this network on another host: one FDB and one neighbour entry each. */
  readonly remotes: readonly RemoteEndpoint[];
}

/** ARP/ND maps `ip` to the inner `mac`; the FDB maps the inner `mac` to the outer `vtep`. */
export interface RemoteEndpoint {
  readonly ip: Ip;
  readonly mac: Mac;
  readonly vtep: Ip;
}

export interface DesiredSandbox {
  readonly id: string;
  /** A file that refers to the network namespace (nsfs mount or /proc/PID/ns/net). */
  readonly netns: NetnsPath;
  /** True when the namespace is ours to make and to remove (`/run/netns/<name>`); false when adopted. */
  readonly owned: boolean;
  /** Somebody else makes it, and takes its legs in, maybe only after these are there: that it is missing is no fault. */
  readonly awaited?: true;
  readonly overlayLegs: readonly OverlayLeg[];
  readonly bridgeLegs: readonly BridgeLeg[];
  readonly directLegs: readonly DirectLeg[];
  readonly hostLeg?: HostLeg;
  /** Of the host's ingress sandbox: which connections it passes on, and to whom. */
  readonly gate?: Gate;
  /** Of a sandbox that is a backend: its answers go back through the gate that the connection came in by. */
  readonly returns?: ReturnPath;
  /** Addresses that stand for several on a network of its, no two the same. Absent rather than none. */
  readonly vips?: readonly Vip[];
}

/** A virtual address: nobody has it, and new connections from the sandbox to it are led to one of the backends by turns. */
export interface Vip {
  readonly ip: Ip;
  /** Of the same family. None: connections are refused. */
  readonly backends: readonly Ip[];
}

/** Where connections to published ports are spread over those that serve them. */
export interface Gate {
  /** The leg that leads to the backends, by its name in the sandbox. */
  readonly legIfName: IfName;
  /** No two of one protocol with the same port. */
  readonly ports: readonly GatePort[];
}

export interface GatePort {
  readonly protocol: Protocol;
  /** The published one: packets come to the gate at it. */
  readonly port: number;
  /** None: connections are refused. */
  readonly backends: readonly Backend[];
  /** How long a client without a connection is remembered, to be led to the same backend again; 0: not at all. */
  readonly affinityMs: number;
  /** What backends see: the client's own address (they need a ReturnPath), or the gate's. */
  readonly source: 'keep' | 'snat';
}

/** Of either family. */
export interface Backend {
  readonly ip: Ip;
  readonly port: number;
}

export interface ReturnPath {
  /** Of the leg that connections come in by. It is found by that: legs that are handed over are named by others. */
  readonly mac: Mac;
  /** All gates of the cluster: nobody else begins a connection by that leg. */
  readonly gates: readonly { readonly mac: Mac; readonly ip: Ip; readonly ip6?: Ip }[];
}

interface Leg {
  /** Endpoint id, 64 hex digits; the host-side interface name derives from it. */
  readonly endpointId: string;
  /** Interface name inside the sandbox: eth0, eth1, … */
  readonly ifName: IfName;
  readonly mac: Mac;
  readonly mtu: number;
  /** At least one, and of each family at most one, with the prefix length of its subnet. */
  readonly addresses: readonly Cidr[];
}

export interface OverlayLeg extends Leg {
  readonly vni: Vni;
  /** The network's other subnets: reached through the same leg, without a gateway. */
  readonly onLink: readonly Cidr[];
  /** Set where its inner end is somebody else's to take from the host's namespace, to name and to give addresses. */
  readonly handed?: Handed;
}

/** How a leg is handed over. */
export interface Handed {
  /** Name of the inner end where it waits. */
  readonly waitsAs: IfName;
  /** Who takes it knows that it is there. Where it has gone since, nobody would take another. */
  readonly taken: boolean;
}

/** A port of a bridge of the host. */
export interface BridgeLeg extends Leg {
  readonly bridge: IfName;
  /** The sandbox's default route goes through it, by the bridge's own address. Of one leg of a sandbox at most. */
  readonly isDefault: boolean;
  readonly published: readonly PublishedPort[];
}

/**
 * A veth to the host itself, whose other end is a port of no bridge: by it the host leads published ports of IPv6 to the sandbox,
 * and the sandbox has its default route of that family. A host with one forwards IPv6.
 */
export interface HostLeg extends Leg {
  /** Of the host's end. */
  readonly hostAddress: Cidr;
  readonly published: readonly PublishedPort[];
}

/** A device in the sandbox that has no other end on the host. */
export interface DirectLeg {
  readonly endpointId: string;
  readonly ifName: IfName;
  /** null: the one that it comes with. */
  readonly mac: Mac | null;
  /** Bytes; null: what it comes with. */
  readonly mtu: number | null;
  readonly addresses: readonly Cidr[];
  /** Prefixes besides its own that are reached through it without a gateway. */
  readonly onLink: readonly Cidr[];
  /** Where the sandbox's default route goes, through this leg; null: nowhere. Of one leg of a sandbox at most. */
  readonly defaultVia: Ip | null;
  readonly source: DirectSource;
}

export const MACVLAN_MODES = ['bridge', 'private', 'vepa', 'passthru'] as const;
export type MacvlanMode = (typeof MACVLAN_MODES)[number];

export type DirectSource =
  | { readonly kind: 'macvlan'; readonly parent: IfName; readonly mode: MacvlanMode }
  /** A device of the host that somebody else made for it: moved in, and moved back when the leg is no longer wanted. */
  | { readonly kind: 'moved'; readonly name: IfName };

/** Made under that name unless there is a device of it, whoever made that. */
export type DesiredParent =
  | { readonly kind: 'vlan'; readonly name: IfName; readonly parent: IfName; readonly id: number }
  /** Leads nowhere: for a network that is to be this host's alone. */
  | { readonly kind: 'dummy'; readonly name: IfName };

export const PROTOCOLS = ['tcp', 'udp', 'sctp'] as const;
export type Protocol = (typeof PROTOCOLS)[number];

/** A port of the host that leads to one of a sandbox. */
export interface PublishedPort {
  readonly protocol: Protocol;
  /** null: every address of the host, of the families that the leg has one of. */
  readonly hostIp: Ip | null;
  readonly hostPort: number;
  readonly port: number;
}

export interface DesiredBridge {
  readonly name: IfName;
  /** The bridge's own address with the prefix length of its subnet, e.g. 172.18.0.1/16. */
  readonly address: Cidr;
  /** Its ports reach each other. */
  readonly icc: boolean;
  /** What leaves it does so by the host's address. */
  readonly masquerade: boolean;
  /** Nothing is forwarded from or to it. */
  readonly internal: boolean;
}
