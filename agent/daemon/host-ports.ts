import { ephemeralPorts, listenersOfHost, processWith } from '../../dataplane/listeners.ts';
import { choosePorts, type Taken } from '../ports/choose.ts';
import { type PortSpec, parsePublish, portsMax } from '../ports/publish.ts';
import type { StoredPort, StoredSandbox } from '../sandbox-state.ts';
import { conflict, invalid } from './api-error.ts';

/** @throws RequestError `invalid` */
export function portsAsked(words: readonly string[], hostIpDefault: string | null): PortSpec[] {
  const specs = words.flatMap((word) => {
    const parsed = parsePublish(word);
    if (!parsed.ok) throw invalid(parsed.reason);
    return parsed.value;
  });
  if (specs.length > portsMax)
    throw invalid(`${specs.length} ports are more than ${portsMax}, as many as a sandbox may publish`);
  if (hostIpDefault === null) return specs;
  // The parser gives none but IPv4 addresses, and so does the option that this one is from.
  return specs.map((spec) => ({ ...spec, hostIp: spec.hostIp ?? (hostIpDefault as PortSpec['hostIp']) }));
}

/** @param exclusive `host` or `none`, if that is its network @throws RequestError `invalid` */
export function mustBePublishable(ports: readonly StoredPort[], exclusive: string | null): void {
  if (ports.length === 0 || exclusive === null) return;
  throw invalid(
    `no port can be published of a sandbox on network ${exclusive}`,
    exclusive === 'host' ? 'what it listens on is a port of the host already' : 'give it a network that leads out',
  );
}

/** A port that is kept for something that listens only at times. */
export interface ReservedPort extends Taken {
  readonly use: string;
}

/** What this node has ports for as soon as it is in a cluster, whether or not it is now. */
export const portsOfNode = (
  { gossipPort, joinPort }: { readonly gossipPort: number; readonly joinPort: number },
  dataPathPort: number,
): ReservedPort[] => [
  { protocol: 'udp', ip: null, port: dataPathPort, use: 'VXLAN' },
  { protocol: 'udp', ip: null, port: gossipPort, use: 'gossip' },
  { protocol: 'tcp', ip: null, port: gossipPort, use: 'gossip' },
  { protocol: 'tcp', ip: null, port: joinPort, use: 'joins' },
];

/** Ports of the host for sandboxes, such that nobody else has them. */
export class HostPorts {
  #next = 0;
  readonly #reserved: () => readonly ReservedPort[];

  constructor(reserved: () => readonly ReservedPort[]) {
    this.#reserved = reserved;
  }

  /**
   * @param others that may have published ports; the ports of what is still being made count
   * @throws RequestError `port_in_use`, with who has it
   */
  choose(specs: readonly PortSpec[], others: readonly StoredSandbox[]): readonly StoredPort[] {
    if (specs.length === 0) return [];
    const published = others.flatMap(({ name, published: ports }) =>
      ports.map(({ protocol, hostIp, hostPort }) => ({ protocol, ip: hostIp, port: hostPort, sandbox: name })),
    );
    const listeners = listenersOfHost();
    const chosen = choosePorts(specs, [...published, ...this.#reserved(), ...listeners], ephemeralPorts(), this.#next);
    if (chosen.ok) {
      this.#next = (chosen.ports.at(-1)?.hostPort ?? 0) + 1;
      return chosen.ports;
    }
    const { spec, holder } = chosen;
    const where = spec.hostPorts === null ? 'any port' : `port ${spec.hostPorts[0]}`;
    throw conflict(
      'port_in_use',
      `${where}/${spec.protocol} of this host is taken${holder === null ? '' : ` by ${holderName(holder)}`}`,
      'choose another, or leave the port of the host out for any that is free',
    );
  }
}

/** Who has a port, in a few words. */
export function holderName(
  holder: Taken & { readonly sandbox?: string; readonly use?: string; readonly inode?: number },
): string {
  if (holder.sandbox !== undefined) return `sandbox ${holder.sandbox}`;
  if (holder.use !== undefined) return `this node for ${holder.use}`;
  return (holder.inode === undefined ? null : processWith(holder.inode)) ?? 'a socket of this host';
}
