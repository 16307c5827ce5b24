import { PROTOCOLS, type Protocol } from '../../dataplane/desired.ts';
import { type Ip, type Parsed, parseIp } from '../../dataplane/values.ts';

/** A port of a sandbox that is asked to be published. */
export interface PortSpec {
  readonly protocol: Protocol;
  /** null: every IPv4 address of the host. */
  readonly hostIp: Ip | null;
  /** Ports of the host to choose from, first and last; null for any that is free. */
  readonly hostPorts: readonly [first: number, last: number] | null;
  readonly port: number;
}

/** Ports that one word, and one sandbox, may ask for: each is an element of a map that a new connection is looked up in. */
export const portsMax = 1024;

const form = '[IP:][HOSTPORT[-LAST]:]PORT[-LAST][/tcp|udp|sctp], such as 8080:80 or 127.0.0.1::53/udp';

/**
 * Reads `--publish` as Docker writes it (go-connections, nat.ParsePortSpec): `80`, `8080:80`, `192.0.2.1::80`,
 * `8000-8009:80-89/udp`. Two ranges are as long as each other and go in pairs; a range of the host's for one port is a
 * choice. A port of the host that is empty or 0 is any. IPv4 alone, as the bridges are.
 */
export function parsePublish(text: string): Parsed<PortSpec[]> {
  const bad = (why: string): Parsed<never> => ({
    ok: false,
    reason: `cannot publish ${JSON.stringify(text.slice(0, 64))}: ${why}`,
  });
  const [ports = '', word = 'tcp', ...rest] = text.split('/');
  if (rest.length > 0 || text === '') return bad(`want ${form}`);
  const parts = ports.split(':');
  const inner = parts.pop() ?? '';
  const host = parts.pop();
  // What is left is an address; that of IPv6 has colons of its own.
  const ip = parts.join(':').replace(/^\[(.*)\]$/, '$1');
  const protocol = PROTOCOLS.find((known) => known === word.toLowerCase());
  if (protocol === undefined) return bad(`${word} is not tcp, udp or sctp`);
  const own = parseRange(inner);
  if (own === null) return bad(`${inner} is not a port from 1 to 65535, or a range of them`);
  const hostPorts = host === undefined || host === '' || host === '0' ? 'any' : parseRange(host);
  if (hostPorts === null) return bad(`${host} is not a port from 1 to 65535, or a range of them`);
  const hostIp = ip === '' || ip === '0.0.0.0' ? null : parseIp(ip);
  if (hostIp?.ok === false) return bad(`${ip} is not an IPv4 address; want ${form}`);
  if (hostIp?.value.includes(':')) return bad('ports are published at IPv4 addresses only');
  const [first, last] = own;
  const count = last - first + 1;
  if (count > portsMax) return bad(`${count} ports are more than ${portsMax}`);
  if (hostPorts !== 'any' && count > 1 && hostPorts[1] - hostPorts[0] + 1 !== count) {
    return bad('the two ranges are not as long as each other');
  }
  const specs = Array.from({ length: count }, (_, index): PortSpec => {
    const at = hostPorts === 'any' ? 0 : hostPorts[0] + index;
    const choice = hostPorts === 'any' ? null : count > 1 ? ([at, at] as const) : hostPorts;
    return { protocol, hostIp: hostIp?.value ?? null, hostPorts: choice, port: first + index };
  });
  return { ok: true, value: specs };
}

/** `80`, `80-90`; null for anything else. */
export function parseRange(text: string): [first: number, last: number] | null {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  if (match === null) return null;
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  return first >= 1 && last <= 65_535 && first <= last ? [first, last] : null;
}
