import type { z } from 'zod';
import { must, parseCidr, parseIfName, parseIp, parseMac } from '../../dataplane/values.ts';
import { conflict, RequestError } from '../daemon/api-error.ts';
import { callPlugin, PluginError } from '../plugins/client.ts';
import { findPlugin, isPluginName, pluginPlaces } from '../plugins/discover.ts';
import { Activate, Capabilities, CreateEndpoint, deviceOf, Empty, Join } from '../plugins/protocol.ts';
import type { StoredPort } from '../sandbox-state.ts';
import { addressText, withPrefixLength } from './addresses.ts';
import type { LocalDriver } from './driver.ts';
import type { LocalNetwork } from './local-network.ts';

/** IP protocol numbers, as Docker names protocols to plugins. */
const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const;
const optionMaxBytes = 256;

/** The protocol that a plugin speaks, as Docker speaks it; one for each name, made when it is asked for. */
const known = new Map<string, LocalDriver>();
// Names that anybody may type; those of networks that there are come again at once.
const knownMax = 64;

/** Networks that somebody else's plugin makes: Docker's driver of that name. @returns undefined for what can be no plugin's name */
export function remote(name: string): LocalDriver | undefined {
  if (!isPluginName(name)) return undefined;
  if (!known.has(name) && known.size >= knownMax) known.clear();
  const driver = known.get(name) ?? driverOf(new Plugin(name));
  known.set(name, driver);
  return driver;
}

class Plugin {
  readonly name: string;
  #activated = false;

  constructor(name: string) {
    this.name = name;
  }

  /** @throws RequestError `plugin_not_found`, `plugin_failed` */
  async call<S extends z.ZodType>(method: string, body: object, shape: S): Promise<z.output<S>> {
    const address = findPlugin(this.name);
    if (address === null) {
      const { sockets, specs } = pluginPlaces;
      throw new RequestError(
        404,
        'plugin_not_found',
        `network driver ${this.name} is not there: no plugin of that name in ${[sockets, ...specs].join(', ')}`,
        'start the plugin, or use another driver: `weft network create --help` names them',
      );
    }
    if (!address.ok) throw this.#failed(address.reason);
    try {
      if (!this.#activated) await this.#activate(address.value);
      return await callPlugin(address.value, method, body, shape);
    } catch (error) {
      if (!(error instanceof PluginError)) throw error;
      // One that did not answer may be another by the next time.
      if (error.status === 0) this.#activated = false;
      throw this.#failed(error.message, error);
    }
  }

  async #activate(address: Parameters<typeof callPlugin>[0]): Promise<void> {
    const { Implements: kinds } = await callPlugin(address, 'Plugin.Activate', {}, Activate);
    if (!kinds.includes('NetworkDriver')) throw new PluginError('it is no network driver', 0);
    const { Scope: scope } = await callPlugin(address, 'NetworkDriver.GetCapabilities', {}, Capabilities);
    if (scope !== 'local') throw new PluginError(`its scope is ${scope}, which needs a Swarm; want local`, 0);
    this.#activated = true;
  }

  #failed(why: string, cause?: PluginError): RequestError {
    const message = `network driver ${this.name}: ${why}`;
    const code = cause?.absent ? 'plugin_not_found' : cause?.status === 404 ? 'plugin_lacks' : 'plugin_failed';
    return new RequestError(502, code, message, "look into the plugin's own log");
  }
}

const isCode = (error: unknown, ...codes: string[]): boolean =>
  error instanceof RequestError && codes.includes(error.code);

function driverOf(plugin: Plugin): LocalDriver {
  const ids = (network: LocalNetwork, endpointId: string) => ({ NetworkID: network.id, EndpointID: endpointId });
  return {
    name: plugin.name,
    scope: 'local',
    predefined: false,
    addressed: true,
    routed: true,
    exclusive: null,
    publishes: true,
    options: {},
    anyOption: (value) => (value.length <= optionMaxBytes ? null : `want at most ${optionMaxBytes} characters`),
    leadsOut: ({ internal }, leg) => !internal && (leg.device?.gateway ?? null) !== null,
    wantsGateway: ({ internal }, leg) =>
      !internal && leg.device !== null && leg.device.gateway === null && !leg.device.ownWay,
    mtuOf: () => null,
    plan: () => ({}),
    planLeg({ ipam }, { endpointId, ifName, ip, device }) {
      if (ipam === null || ifName === null || ip === null || device === null) return {};
      const directLeg = {
        endpointId,
        ifName: must(parseIfName(ifName)),
        mac: device.mac === null ? null : must(parseMac(device.mac)),
        mtu: null,
        addresses: [must(parseCidr(withPrefixLength(ipam, ip)))],
        onLink: device.onLink.map((prefix) => must(parseCidr(prefix))),
        defaultVia: device.gateway === null ? null : must(parseIp(device.gateway)),
        source: { kind: 'moved', name: must(parseIfName(device.source)) } as const,
      };
      return { directLeg };
    },
    async create({ id, ipam, internal, options }) {
      const pools =
        ipam === null
          ? []
          : [{ AddressSpace: 'LocalDefault', Gateway: withPrefixLength(ipam, ipam.gateway), Pool: ipam.subnet }];
      const Options = {
        'com.docker.network.enable_ipv6': false,
        ...(internal ? { 'com.docker.network.internal': true } : {}),
        'com.docker.network.generic': options,
      };
      await plugin.call(
        'NetworkDriver.CreateNetwork',
        { NetworkID: id, Options, IPv4Data: pools, IPv6Data: [] },
        Empty,
      );
    },
    async remove({ id }) {
      try {
        await plugin.call('NetworkDriver.DeleteNetwork', { NetworkID: id }, Empty);
      } catch (error) {
        // Who would know of it has gone, and a network must not stay for that.
        if (!isCode(error, 'plugin_not_found')) throw error;
      }
    },
    async attach(network, leg, netns, published) {
      const { ipam } = network;
      const address = addressText(ipam, leg.ip);
      const Options = endpointOptions(published);
      const Interface = { Address: address, AddressIPv6: '', MacAddress: '' };
      const endpoint = ids(network, leg.endpointId);
      const created = await plugin.call(
        'NetworkDriver.CreateEndpoint',
        { ...endpoint, Interface, Options },
        CreateEndpoint,
      );
      try {
        const joined = await plugin.call('NetworkDriver.Join', { ...endpoint, SandboxKey: netns, Options }, Join);
        const device = deviceOf(created, joined);
        if (!device.ok) throw conflict('plugin_failed', `network driver ${plugin.name}: ${device.reason}`);
        return device.value;
      } catch (error) {
        await this.detach?.(network, leg).catch(() => undefined);
        throw error;
      }
    },
    async publish(network, { endpointId }, published) {
      const body = { ...ids(network, endpointId), Options: endpointOptions(published) };
      try {
        await plugin.call('NetworkDriver.ProgramExternalConnectivity', body, Empty);
      } catch (error) {
        // As Docker takes it: an older plugin, which does what it does with Join.
        if (!isCode(error, 'plugin_lacks')) throw error;
      }
    },
    async detach(network, { endpointId }) {
      const endpoint = ids(network, endpointId);
      const failures: unknown[] = [];
      for (const method of ['RevokeExternalConnectivity', 'Leave', 'DeleteEndpoint']) {
        await plugin.call(`NetworkDriver.${method}`, endpoint, Empty).catch((error: unknown) => {
          if (!isCode(error, 'plugin_lacks')) failures.push(error);
        });
      }
      if (failures[0] !== undefined) throw failures[0];
    },
  };
}

const endpointOptions = (published: readonly StoredPort[]) => ({
  'com.docker.network.endpoint.exposedports': published.map(({ protocol, port }) => ({
    Proto: protocolNumbers[protocol],
    Port: port,
  })),
  'com.docker.network.portmap': published.map(({ protocol, hostIp, hostPort, port }) => ({
    ...{ Proto: protocolNumbers[protocol], IP: '', Port: port },
    ...{ HostIP: hostIp ?? '0.0.0.0', HostPort: hostPort, HostPortEnd: hostPort },
  })),
});
