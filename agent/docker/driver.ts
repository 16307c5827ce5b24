import { offsetIn } from '../../controlplane/addresses.ts';
import type { Cluster } from '../../controlplane/cluster.ts';
import type { NetworkId } from '../../controlplane/ids.ts';
import { prefixLengthOf } from '../../controlplane/subnet-spec.ts';
import type { NetworkSubnet } from '../../controlplane/tables/subnets.ts';
import type { Network } from '../../controlplane/tables/view.ts';
import { addressOf, type Parsed, parseCidr, parseIp, parseMac, parseNetnsPath } from '../../dataplane/values.ts';
import { conflict, invalid, notFound } from '../daemon/api-error.ts';
import { parseOptions } from '../drivers/options.ts';
import { overlay } from '../drivers/overlay.ts';
import type { AwaitedPools } from './awaited-pools.ts';
import type { DockerEndpoints } from './endpoints.ts';
import { driverName } from './mirror-plan.ts';
import type { Answer } from './plugin.ts';
import * as shapes from './protocol.ts';

/** types.CONNECTED of libnetwork: reached on the link itself. */
const CONNECTED = 1;
/** For a network that was just made to be in the tables. Docker waits longer for an answer. */
const arrivalMs = 10_000;
/** For word that an endpoint has gone which was on another host until a moment ago. */
const unusedMs = 1_000;

export interface DriverInit {
  /** @throws RequestError where the node is in no cluster */
  readonly cluster: () => Cluster;
  readonly endpoints: DockerEndpoints;
  readonly pools: AwaitedPools;
  /** Whether it is Weft that has Docker remove that network, and not a user of Docker. */
  readonly isRemoving: (id: string) => boolean;
  /** The network of the cluster that Weft is having Docker make right now. */
  readonly making: () => NetworkId | null;
  /** Resolves when Weft is not having Docker make docker_gwbridge. */
  readonly bridged: () => Promise<void>;
}

/** What dockerd may ask, by the path of the call: `NetworkDriver` and `IpamDriver` of libnetwork's remote protocol. */
export function callsOf({
  cluster,
  endpoints,
  pools,
  isRemoving,
  making,
  bridged,
}: DriverInit): ReadonlyMap<string, Answer> {
  const networkById = (id: NetworkId): Network => {
    const network = cluster().view.networks.get(id);
    if (network === undefined) throw notFound('network', id);
    return network;
  };
  const networkByVni = (vni: string): Network => {
    const network = [...cluster().view.networks.values()].find((each) => String(each.vni) === vni);
    if (network !== undefined) return network;
    throw invalid(`no network of the cluster has VNI ${vni}`, `the cluster chooses it: leave ${shapes.vniOption} out`);
  };
  const poolOf = async (text: string): Promise<{ network: Network; subnet: NetworkSubnet }> => {
    const named = shapes.parsePoolId(text);
    if (named === null) throw invalid(`${text} is no pool of ${driverName}`);
    const id = named.networkId as NetworkId;
    const { view } = cluster();
    // A container may be started before the cluster has the network that was just made for it.
    await until(
      () => view.networks.has(id) || !endpoints.awaits(id),
      arrivalMs,
      (look) => [view.watch(look), endpoints.watchNetworks(look)],
    );
    const network = view.networks.get(id);
    if (network === undefined) {
      throw conflict(
        'network_not_ready',
        `the network of ${named.subnet} is none of the cluster's (yet)`,
        'try again in a moment; `weft status` says if it cannot be one',
      );
    }
    return { network, subnet: subnetOf(network, named.subnet) };
  };
  /** Docker's id of the last network that it made for us. */
  let begun = '';
  const nothing: Answer = () => ({});
  return new Map<string, Answer>([
    ['Plugin.Activate', () => ({ Implements: ['NetworkDriver', 'IpamDriver'] })],

    ['NetworkDriver.GetCapabilities', () => ({ Scope: 'local', ConnectivityScope: 'global' })],
    [
      'NetworkDriver.CreateNetwork',
      async (body) => {
        const { NetworkID: id, Options, IPv4Data, IPv6Data } = shapes.CreateNetwork.parse(body);
        const vni = shapes.vniIn(Options);
        const data = [...(IPv4Data ?? []), ...(IPv6Data ?? [])];
        if (vni === null) {
          // Made by a user of Docker: it is taken into the cluster when Docker has told its name.
          const options = parseOptions(overlay, shapes.driverOptionsIn(Options));
          if (!options.ok) throw invalid(options.reason);
          cluster().networks.mustBeAbleToCreate();
          const ours = data.filter(({ AddressSpace }) => AddressSpace === driverName);
          if (ours.length > 0) {
            const networkId = pools.assign(ours.map(({ Pool }) => Pool));
            await endpoints.addNetwork({ id, networkId, awaited: true });
          }
          return {};
        }
        const network = networkByVni(vni);
        for (const { Pool } of data) subnetOf(network, Pool);
        // Of an agent that ended while it had Docker make it, this one has heard nothing, and gave pools of their own; Docker would
        // ask by those for good.
        if (pools.includes(data.map(({ Pool }) => Pool))) {
          throw conflict('network_not_ready', `network ${network.name} was not being made by this agent`, 'try again');
        }
        begun = id;
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
          // Nor does Docker that, where it takes back what it could not finish making for us.
          const isTakenBack = id === begun && making() === network?.id;
          if (network !== null && !isRemoving(id) && !isTakenBack) {
            const { networks, view } = cluster();
            await until(
              () => view.endpointsOf(network.id).size === 0,
              unusedMs,
              (look) => [view.watch(look)],
            );
            await networks.remove(network);
          }
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
        const netns = valid(parseNetnsPath(SandboxKey));
        // Docker's next step is docker_gwbridge.
        const [leg] = await Promise.all([endpoints.join(EndpointID, netns), network.internal || bridged()]);
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
      async (body) => {
        const { Pool, V6 } = shapes.RequestPool.parse(body);
        const made = making();
        const subnet = made && networkById(made).subnets.find(({ space }) => space.text === Pool);
        if (made !== null && subnet) return { PoolID: shapes.poolId(made, Pool), Pool, Data: {} };
        const pool = await pools.request(cluster(), { subnet: Pool, family: V6 || Pool.includes(':') ? 6 : 4 });
        return { PoolID: pool.id, Pool: pool.subnet, Data: {} };
      },
    ],
    [
      'IpamDriver.ReleasePool',
      (body) => {
        pools.drop(shapes.ReleasePool.parse(body).PoolID);
        return {};
      },
    ],
    [
      'IpamDriver.RequestAddress',
      async (body) => {
        const { PoolID, Address, Options } = shapes.RequestAddress.parse(body);
        const wanted = Address === '' ? null : valid(parseIp(Address));
        const ofItself = pools.address(PoolID, wanted, shapes.isForGateway(Options));
        if (ofItself !== null) return { Address: ofItself, Data: {} };
        const { network, subnet } = await poolOf(PoolID);
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
        if (wanted !== null && making() === network.id && Object.values(subnet.aux).includes(wanted)) {
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

/** Resolves when it holds, which is looked at upon each change, or after a time. */
async function until(
  holds: () => boolean,
  limitMs: number,
  watch: (look: () => void) => readonly (() => void)[],
): Promise<void> {
  if (holds()) return;
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (holds()) done();
    };
    const done = (): void => {
      clearTimeout(timer);
      for (const end of watches) end();
      resolve();
    };
    const timer = setTimeout(done, limitMs);
    const watches = watch(look);
  });
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
