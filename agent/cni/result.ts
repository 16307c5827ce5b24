import type { Sandbox } from '../api/schema.ts';
import { parseResolvConf } from '../files/resolv-conf.ts';
import type { Result } from './config.ts';
import { type CniVersion, tellsFamily } from './versions.ts';

export type Endpoint = Sandbox['Networks'][number];

const addressesOf = ({ IPv4Address: four, IPv6Address: six }: Endpoint): string[] =>
  [four, six].filter((address) => address !== '');

/**
 * What ADD answers (SPEC.md, section 5). Nothing of the leg on docker_gwbridge but the route: it is not of one attachment.
 * @param leadsOut the sandbox got its way out with this endpoint
 * @param resolvConf text of the sandbox's /etc/resolv.conf
 */
export function resultOf(
  version: CniVersion,
  sandbox: Sandbox,
  endpoint: Endpoint,
  leadsOut: boolean,
  resolvConf: string,
): object {
  const { servers, search, options } = parseResolvConf(resolvConf).resolver;
  return {
    cniVersion: version,
    interfaces: [{ name: endpoint.Interface, mac: endpoint.MacAddress, sandbox: sandbox.NetnsPath }],
    ips: addressesOf(endpoint).map((address) => ({
      ...(tellsFamily(version) ? { version: address.includes(':') ? '6' : '4' } : {}),
      interface: 0,
      address,
    })),
    routes: leadsOut && sandbox.Gateway !== null ? [{ dst: '0.0.0.0/0', gw: sandbox.Gateway.Gateway }] : [],
    dns: { nameservers: servers, search, options },
  };
}

/** What of an earlier result is no longer so, one line each. */
export function differences(previous: Result, sandbox: Sandbox, endpoint: Endpoint): string[] {
  const { Interface: name, MacAddress: mac, Status: status } = endpoint;
  const found: string[] = [];
  if (!sandbox.NetnsPresent) found.push(`namespace ${sandbox.NetnsPath} is gone`);
  if (status !== 'ok') found.push(`interface ${name}: ${status}`);
  const interfaces = previous.interfaces ?? [];
  // One of the same name on the host has no sandbox.
  const at = interfaces.findIndex((each) => each.name === name && (each.sandbox ?? '') !== '');
  const before = interfaces[at];
  if (before === undefined) return [...found, `the result of ADD has no interface ${name}`];
  if (before.mac !== undefined && before.mac.toLowerCase() !== mac) {
    found.push(`interface ${name} had MAC address ${before.mac}, and has ${mac}`);
  }
  const ips = (previous.ips ?? []).flatMap((ip) => (ip.interface === at ? [ip.address] : [])).sort();
  const now = addressesOf(endpoint).sort();
  if (ips.join() !== now.join()) {
    found.push(`interface ${name} had ${ips.join(' ') || 'no address'}, and has ${now.join(' ') || 'none'}`);
  }
  return found;
}
