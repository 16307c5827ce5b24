import { eachAttribute, type Message, type MessageWriter, NLM_F_DUMP, NLM_F_REQUEST, textAt } from './wire.ts';

// linux/netfilter/nf_tables.h: NFT_MSG_*CHAIN, NFTA_CHAIN_*, NFTA_HOOK_*; linux/netfilter.h: NF_INET_FORWARD, NF_DROP, NFPROTO_*.
const NFNL_SUBSYS_NFTABLES = 10;
const NFT_MSG_NEWCHAIN = 3;
const NFT_MSG_GETCHAIN = 4;
const NFGENMSG_LENGTH = 4;
const NFTA_CHAIN_TABLE = 1;
const NFTA_CHAIN_NAME = 3;
const NFTA_CHAIN_HOOK = 4;
const NFTA_CHAIN_POLICY = 5;
const NFTA_HOOK_HOOKNUM = 1;
const NF_INET_FORWARD = 2;
const NF_DROP = 0;
const FAMILIES: { readonly [protocol: number]: string } = { 1: 'inet', 2: 'ip', 10: 'ip6' };

/** A chain through which all forwarded packets go, or all of IPv4 or IPv6. */
export interface ForwardChain {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  /** What it does not accept is dropped. */
  readonly drops: boolean;
}

/** Asks for all chains of all tables: those of iptables, too, where iptables is the one that writes to nftables. */
export function encodeChainDump(writer: MessageWriter, seq: number): void {
  writer.begin((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETCHAIN, NLM_F_REQUEST | NLM_F_DUMP, seq);
  writer.bytesOf(new Uint8Array(NFGENMSG_LENGTH));
  writer.end();
}

/** Null for any other chain. Numbers inside are big-endian. */
export function decodeForwardChain({ type, buffer, start, end }: Message): ForwardChain | null {
  if (type !== ((NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_NEWCHAIN) || end - start < NFGENMSG_LENGTH) return null;
  const family = FAMILIES[buffer[start] ?? 0];
  let [table, chain, hook, policy] = ['', '', -1, -1];
  eachAttribute(buffer, start + NFGENMSG_LENGTH, end, (attribute, from, to) => {
    if (attribute === NFTA_CHAIN_TABLE) table = textAt(buffer, from, to);
    else if (attribute === NFTA_CHAIN_NAME) chain = textAt(buffer, from, to);
    else if (attribute === NFTA_CHAIN_POLICY && to - from >= 4) policy = buffer.readUInt32BE(from);
    else if (attribute === NFTA_CHAIN_HOOK) {
      eachAttribute(buffer, from, to, (inner, hookFrom, hookTo) => {
        if (inner === NFTA_HOOK_HOOKNUM && hookTo - hookFrom >= 4) hook = buffer.readUInt32BE(hookFrom);
      });
    }
  });
  if (family === undefined || hook !== NF_INET_FORWARD) return null;
  return { family, table, chain, drops: policy === NF_DROP };
}
