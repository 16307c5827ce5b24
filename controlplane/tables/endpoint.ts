import type { EndpointId, NetworkId, NodeId } from '../ids.ts';
import type { EndpointValue } from './kinds.ts';

export type Endpoint = EndpointValue & {
  readonly id: EndpointId;
  readonly owner: NodeId;
  readonly networkId: NetworkId;
};

const noAliases: string[] = [];

/**
 * Field by field: of objects made by spreading, the engine gives each a shape of its own, which takes more than the object
 * does, and there are many of these.
 */
export function endpointOf(
  value: EndpointValue,
  { id, owner, networkId }: Omit<Endpoint, keyof EndpointValue>,
): Endpoint {
  const { name, sandbox, ip, ip6, mac, createdMs, ready, ports, serves, asks } = value;
  const aliases = value.aliases.length === 0 ? noAliases : value.aliases;
  if (ready !== undefined || ports !== undefined || serves !== undefined || asks !== undefined) {
    return { name, sandbox, ip, ip6, mac, aliases, createdMs, id, owner, networkId, ready, ports, serves, asks };
  }
  if (ip6 === undefined) return { name, sandbox, ip, mac, aliases, createdMs, id, owner, networkId };
  return { name, sandbox, ip, ip6, mac, aliases, createdMs, id, owner, networkId };
}
