import { createHash } from 'node:crypto';
import ipaddr from 'ipaddr.js';

/**
 * The /64 of a network that was given no IPv6 subnet: a unique local prefix (RFC 4193), `fd`, then four bytes of a digest
 * of the cluster's id, then the network's VNI in three. VNIs come from a ring, so no two networks of a cluster get the
 * same, on whatever sides of a partition they were made; below VNI 65,536 all of them lie in one /48, as of a site. Two
 * clusters share a prefix with a chance of one in 2^32.
 * @param round another prefix for the same network
 */
export function uniqueLocal(clusterId: string, vni: number, round: number): string {
  const bytes = Buffer.alloc(16);
  bytes[0] = 0xfd;
  createHash('sha256').update(`weft unique local ${round} ${clusterId}`).digest().copy(bytes, 1, 0, 4);
  bytes.writeUIntBE(vni, 5, 3);
  return `${new ipaddr.IPv6([...bytes]).toRFC5952String()}/64`;
}

/** The /64 of the way from each host to its own gate: of no network, since VNIs begin above 0. */
export const gatePrefix6 = (clusterId: string): string => uniqueLocal(clusterId, 0, 0);
