import { NETLINK_NETFILTER, SystemError } from '../rtnetlink/libc.ts';
import { decodeForwardChain, encodeChainDump } from '../rtnetlink/nft-chains.ts';
import { NetlinkSocket } from '../rtnetlink/socket.ts';
import { OUR_TABLES, USER_TABLE } from './tables.ts';

const ours = new Set(OUR_TABLES.filter((table) => table !== USER_TABLE).map(({ name }) => name));

/**
 * Chains of others on this host that drop what they do not accept of all that is forwarded, `ip filter FORWARD`: Docker makes
 * one when it switches forwarding on. No rule of ours can overrule a drop. Those of the older iptables are not seen.
 * @param ipv6 those of IPv6 alone count, too
 */
export async function droppingChains(ipv6: boolean): Promise<string[]> {
  using socket = NetlinkSocket.open(null, NETLINK_NETFILTER);
  try {
    const chains = await socket.dump('chains', encodeChainDump, decodeForwardChain);
    return chains
      .filter(({ table, family, drops }) => drops && !ours.has(table) && (ipv6 || family !== 'ip6'))
      .map(({ family, table, chain }) => `${family} ${table} ${chain}`);
  } catch (error) {
    // A kernel without nftables has no such chain.
    if (error instanceof SystemError) return [];
    throw error;
  }
}
