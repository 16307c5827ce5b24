import { offsetIn } from '../../controlplane/addresses.ts';
import type { Cluster } from '../../controlplane/cluster.ts';
import { prefixLengthOf } from '../../controlplane/subnet-spec.ts';
import type { NetworkSubnet } from '../../controlplane/tables/subnets.ts';
import type { Network } from '../../controlplane/tables/view.ts';
import { addressOf, type Parsed, parseCidr, parseIp, parseMac, parseNetnsPath } from '../../dataplane/values.ts';
import { conflict, invalid, notFound } from '../daemon/api-error.ts';
import { parseOptions } from '../drivers/options.ts';
import { overlay } from '../drivers/overlay.ts';
import type { DockerEndpoints } from './endpoints.ts';
import { driverName } from './mirror-plan.ts';
import type { Answer } from './plugin.ts';
import * as shapes from './protocol.ts';

/** types.CONNECTED of libnetwork: reached on the link itself. */
const CONNECTED = 1;

export interface DriverInit {
  /** @throws RequestError where the node is in no cluster */
  readonly cluster: () => Cluster;
  readonly endpoints: DockerEndpoints;
  /** Whether it is Weft that has Docker remove that network, and not a user of Docker. */
  readonly isRemoving: (id: string) => boolean;
}

/** What dockerd may ask, by the path of the call: `NetworkDriver` and `IpamDriver` of libnetwork's remote protocol. */
export function callsOf({ cluster, endpoints, isRemoving }: DriverInit): ReadonlyMap<string, Answer> {
  const networkById = (id: string): Network => {
    const network = [...cluster().view.networks.values()].find((each) => each.id === id);
    if (network === undefined) throw notFound('network', id);
    return network;
  };
  const networkByVni = (vni: string): Network => {
    const network = [...cluster().view.networks.values()].find((each) => String(each.vni) === vni);
    if (network !== undefined) return network;
    throw invalid(`no network of the cluster has VNI ${vni}`, `the cluster chooses it: leave ${shapes.vniOption} out`);
  };
  const poolOf = (text: string): { network: Network; subnet: NetworkSubnet } => {
    const named = shapes.parsePoolId(text);
    if (named === null) throw invalid(`${text} is no pool of ${driverName}`);
    const network = networkById(named.networkId);
    return { network, subnet: subnetOf(network, named.subnet) };
  };
  const nothing: Answer = () => ({});
  return new Map<string, Answer>([
    ['Plugin.Activate', () => ({ Implements: ['NetworkDriver', 'IpamDriver'] })],

    ['NetworkDriver.GetCapabilities', () => ({ Scope: 'local', ConnectivityScope: 'global' })],
    [
      'NetworkDriver.CreateNetwork',
      async (body) => {
        const { NetworkID: id, Options, IPv4Data, IPv6Data } = shapes.CreateNetwork.parse(body);
        const vni = shapes.vniIn(Options);
        if (vni === null) {
          // Made by a user of Docker: it is taken into the cluster when Docker has told its name.
          const options = parseOptions(overlay, shapes.driverOptionsIn(Options));
          if (!options.ok) throw invalid(options.reason);
          cluster();
          return {};
        }
        const network = networkByVni(vni);
        for (const { Pool } of [...(IPv4Data ?? []), ...(IPv6Data ?? [])]) subnetOf(network, Pool);
        await endpoints.addNetwork({ id, networkId: network.id });
        return {};
      },
    ],
    [
      'NetworkDriver.DeleteNetwork',
      async (body) => {
        const { NetworkID: id } = shapes.OnNetwork.parse(body);
        const network = endpoints.findNetwork(id);
        try {
          // Whoever has it removed here has it removed everywhere. Docker cannot be kept from removing its own, whatever is
          // answered; where it is in use on another host it is then made again.
          if (network !== null && !isRemoving(id)) await cluster().networks.remove(network);
        } finally {
          await endpoints.removeNetwork(id);
        }
        return {};
      },
    ],
    [
      'NetworkDriver.CreateEndpoint',
      async (body) => {
        const { NetworkID, EndpointID, Interface } = shapes.CreateEndpoint.parse(body);
        const { Address = '', AddressIPv6 = '', MacAddress = '' } = Interface ?? {};
        const asked = {
          ip: Address === '' ? null : ipOf(Address),
          ip6: AddressIPv6 === '' ? null : ipOf(AddressIPv6),
          mac: MacAddress === '' ? null : valid(parseMac(MacAddress)),
        };
        if (asked.ip === null && asked.ip6 === null) {
          throw invalid('an endpoint without an address', `make the network with \`--ipam-driver ${driverName}\``);
        }
        const mac = await endpoints.create({ id: EndpointID, dockerNetwork: NetworkID, ...asked });
        return { Interface: asked.mac === null ? { MacAddress: mac } : {} };
      },
    ],
    ['NetworkDriver.EndpointOperInfo', () => ({ Value: {} })],
    [
      'NetworkDriver.DeleteEndpoint',
      async (body) => {
        await endpoints.remove(shapes.OnEndpoint.parse(body).EndpointID);
        return {};
      },
    ],
    [
      'NetworkDriver.Join',
      async (body) => {
        const { NetworkID, EndpointID, SandboxKey } = shapes.Join.parse(body);
        const network = endpoints.networkOf(NetworkID);
        const leg = await endpoints.join(EndpointID, valid(parseNetnsPath(SandboxKey)));
        const own = [leg.ip, leg.ip6].filter((ip) => ip !== null);
        const others = network.subnets.filter(({ space }) => own.every((ip) => offsetIn(space, ip) === null));
        return {
          InterfaceName: { SrcName: leg.ifName, DstPrefix: 'eth' },
          // Without a gateway Docker leads out through docker_gwbridge, as with its own overlay.
          DisableGatewayService: network.internal,
          StaticRoutes: others.map(({ space }) => ({ Destination: space.text, RouteType: CONNECTED, NextHop: '' })),
        };
      },
    ],
    [
      'NetworkDriver.Leave',
      async (body) => {
        await endpoints.leave(shapes.OnEndpoint.parse(body).EndpointID);
        return {};
      },
    ],
    // Ports are published by docker_gwbridge; other nodes are known from the tables.
    ...['AllocateNetwork', 'FreeNetwork', 'DiscoverNew', 'DiscoverDelete'].map(
      (call) => [`NetworkDriver.${call}`, nothing] as const,
    ),
    ...['ProgramExternalConnectivity', 'RevokeExternalConnectivity'].map(
      (call) => [`NetworkDriver.${call}`, nothing] as const,
    ),

    // What was given out is on disk, and Docker need not say it again after a restart.
    ['IpamDriver.GetCapabilities', () => ({ RequiresMACAddress: false, RequiresRequestReplay: false })],
    [
      'IpamDriver.GetDefaultAddressSpaces',
      () => ({ LocalDefaultAddressSpace: driverName, GlobalDefaultAddressSpace: driverName }),
    ],
    [
      'IpamDriver.RequestPool',
      (body) => {
        const { Pool, Options } = shapes.RequestPool.parse(body);
        const named = shapes.networkIn(Options);
        if (named === null) {
          throw invalid(
            `addresses of ${driverName} are for networks of the cluster`,
            `leave --ipam-driver out: \`docker network create -d ${driverName} NAME\` makes one`,
          );
        }
        const network = networkById(named);
        const { space } = subnetOf(network, Pool);
        return { PoolID: shapes.poolId(network.id, space.text), Pool: space.text, Data: {} };
      },
    ],
    ['IpamDriver.ReleasePool', nothing],
    [
      'IpamDriver.RequestAddress',
      async (body) => {
        const { PoolID, Address, Options } = shapes.RequestAddress.parse(body);
        const { network, subnet } = poolOf(PoolID);
        const wanted = Address === '' ? null : valid(parseIp(Address));
        if (shapes.isForGateway(Options) || wanted === subnet.gateway) {
          if (wanted !== null && wanted !== subnet.gateway) {
            throw conflict(
              'invalid_gateway',
              `the gateway of ${subnet.space.text} is ${subnet.gateway}, not ${wanted}`,
            );
          }
          return { Address: `${subnet.gateway}/${subnet.space.prefixLength}`, Data: {} };
        }
        // Asked for by each Docker that makes the network, as it does with the gateway: nobody's.
        if (wanted !== null && Object.values(subnet.aux).includes(wanted)) {
          return { Address: `${wanted}/${subnet.space.prefixLength}`, Data: {} };
        }
        const ip = await endpoints.takeAddress(network, wanted, subnet.space.family);
        return { Address: `${ip}/${prefixLengthOf(network, ip)}`, Data: {} };
      },
    ],
    [
      'IpamDriver.ReleaseAddress',
      async (body) => {
        const { PoolID, Address } = shapes.ReleaseAddress.parse(body);
        const named = shapes.parsePoolId(PoolID);
        const ip = parseIp(Address.replace(/\/.*/, ''));
        // Of a network that is gone nothing is left to be given back.
        if (named !== null && ip.ok) await endpoints.returnAddress(named.networkId as Network['id'], ip.value);
        return {};
      },
    ],
  ]);
}

/** @throws RequestError */
function subnetOf(network: Network, text: string): NetworkSubnet {
  const found = network.subnets.find(({ space }) => space.text === text);
  if (found !== undefined) return found;
  const subnets = network.subnets.map(({ space }) => space.text).join(', ');
  throw conflict('invalid_subnet', `network ${network.name} has ${subnets}, and not ${text || 'any'}`);
}

const ipOf = (cidr: string): string => addressOf(valid(parseCidr(cidr)));

function valid<T>(parsed: Parsed<T>): T {
  if (!parsed.ok) throw invalid(parsed.reason);
  return parsed.value;
}
