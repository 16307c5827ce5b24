import type { Endpoint, Network } from '../../agent/api/schema.ts';
import type { Host } from './host.ts';
import type { KernelDump, LinkDump } from './kernel.ts';

/** How a host's overlay entries compare with its tables: one FDB and one neighbour entry per remote endpoint. */
export interface EntryCheck {
  /** FDB and neighbour entries that the tables ask for. */
  readonly wanted: number;
  readonly missing: readonly string[];
  readonly extra: readonly string[];
}

/** Compares a host's kernel with its own agent's tables. */
export async function checkEntries(host: Host): Promise<EntryCheck> {
  const [endpoints, networks, status, kernel] = await Promise.all([
    host.api.call('endpointList'),
    host.api.call('networkList'),
    host.api.call('status'),
    host.kernel(),
  ]);
  return compareEntries(wantedEntries(endpoints, networks, status.NodeID), kernelEntries(kernel));
}

/** The entries a node's kernel must have: for remote endpoints of the networks that it has endpoints on itself. */
export function wantedEntries(
  endpoints: readonly Endpoint[],
  networks: readonly Pick<Network, 'Id' | 'VNI'>[],
  nodeId: string,
): Set<string> {
  const vni = new Map(networks.map((network) => [network.Id, network.VNI]));
  const mine = new Set(
    endpoints.filter((endpoint) => endpoint.NodeID === nodeId).map((endpoint) => endpoint.NetworkID),
  );
  const remote = endpoints.filter((endpoint) => endpoint.NodeID !== nodeId && mine.has(endpoint.NetworkID));
  return new Set(
    remote.flatMap((endpoint) => {
      const of = vni.get(endpoint.NetworkID) ?? 0;
      const ips = [endpoint.IPv4Address, endpoint.IPv6Address].filter((each) => each !== '');
      const neighbours = ips.map((each) => neighbour(of, each.replace(/\/.*/, ''), endpoint.MacAddress));
      return [fdb(of, endpoint.MacAddress, endpoint.VTEP), ...neighbours];
    }),
  );
}

/** The entries a kernel has, of all its overlays. */
export function kernelEntries({ weft }: KernelDump): Set<string> {
  const vni = vniByDevice(weft?.links ?? []);
  const entries = new Set<string>();
  for (const line of weft?.fdb ?? []) {
    const match = /^(\S+) (\S+) dst (\S+)$/.exec(line);
    // An entry of the bridge itself has no VTEP; with neighbour suppression it stands beside each of the VXLAN device.
    if (match) entries.add(fdb(vni.get(match[1] ?? '') ?? 0, match[2] ?? '', match[3] ?? ''));
  }
  for (const line of weft?.neighbours ?? []) {
    const match = /^(\S+) (\S+) lladdr (\S+)$/.exec(line);
    if (match) entries.add(neighbour(vni.get(match[1] ?? '') ?? 0, match[2] ?? '', match[3] ?? ''));
  }
  return entries;
}

// Neighbours are on the VXLAN device or on its bridge, as the data plane likes; both stand for the same network.
function vniByDevice(links: readonly LinkDump[]): Map<string, number> {
  const found = new Map<string, number>();
  for (const link of links) {
    if (link.kind !== 'vxlan') continue;
    const vni = Number(link.info['id']);
    found.set(link.name, vni);
    if (link.master !== '') found.set(link.master, vni);
  }
  return found;
}

/** What is in one and not in the other. */
export function compareEntries(wanted: ReadonlySet<string>, there: ReadonlySet<string>): EntryCheck {
  return {
    wanted: wanted.size,
    missing: [...wanted].filter((entry) => !there.has(entry)),
    extra: [...there].filter((entry) => !wanted.has(entry)),
  };
}

function fdb(vni: number, mac: string, vtep: string): string {
  return `vni ${vni}: fdb ${mac.toLowerCase()} -> ${vtep}`;
}

function neighbour(vni: number, ip: string, mac: string): string {
  return `vni ${vni}: neighbour ${ip} -> ${mac.toLowerCase()}`;
}
