import { heedsMarks, readSandboxForwarding } from '../apply/sysctl.ts';
import { isOurMark } from '../nft/returns.ts';
import { EAFNOSUPPORT, SystemError } from '../rtnetlink/libc.ts';
import type { Link } from '../rtnetlink/links.ts';
import { OUR_PROTOCOL } from '../rtnetlink/neighbours.ts';
import { decodePolicyRule, encodeRuleDump, type PolicyRule } from '../rtnetlink/policy.ts';
import type { Route } from '../rtnetlink/routes.ts';
import type { NetlinkSocket } from '../rtnetlink/socket.ts';
import { AF_INET, AF_INET6, type MessageWriter } from '../rtnetlink/wire.ts';
import type { NetnsPath } from '../values.ts';
import { type ObservedSandbox, routeText, ruleText, tableText } from './observed.ts';

/** What a sandbox's namespace was found to hold. */
interface Inside {
  readonly netns: NetnsPath;
  readonly socket: NetlinkSocket;
  readonly routes: readonly Route[];
  readonly links: ReadonlyMap<number, Link>;
}

/** Adds what a sandbox has of a gate or of a return path besides its table. Throws SystemError. */
export async function observeIngress(
  sandbox: ObservedSandbox,
  { netns, socket, routes, links }: Inside,
): Promise<void> {
  const { ipv4, ipv6 } = readSandboxForwarding(netns);
  sandbox.forwards = ipv4;
  sandbox.forwards6 = ipv6;
  for (const name of heedsMarks(netns, sandbox.devices.keys())) sandbox.heedsMarks.add(name);
  for (const family of [AF_INET, AF_INET6]) {
    const encode = (writer: MessageWriter, seq: number): void => encodeRuleDump(writer, seq, family);
    for (const rule of await rulesOf(socket, encode)) {
      if (rule.protocol === OUR_PROTOCOL) sandbox.rules.add(ruleText(rule));
    }
  }
  for (const { ipv6: six, prefixLength, table, gateway, ifindex } of routes) {
    if (prefixLength !== 0 || !isOurMark(table)) continue;
    const to = routeText(gateway, links.get(ifindex ?? 0)?.name ?? '');
    sandbox.tableRoutes.set(tableText({ ipv6: six, table }), to);
  }
}

/** None where the kernel has not that family. */
async function rulesOf(
  socket: NetlinkSocket,
  encode: (writer: MessageWriter, seq: number) => void,
): Promise<PolicyRule[]> {
  try {
    return await socket.dump('rules', encode, decodePolicyRule);
  } catch (error) {
    if (error instanceof SystemError && error.errno === EAFNOSUPPORT) return [];
    throw error;
  }
}
