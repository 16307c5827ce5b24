import { heedsMarks, readSandboxForwarding } from '../apply/sysctl.ts';
import { isOurMark } from '../nft/returns.ts';
import type { Link } from '../rtnetlink/links.ts';
import { OUR_PROTOCOL } from '../rtnetlink/neighbours.ts';
import { decodePolicyRule, encodeRuleDump } from '../rtnetlink/policy.ts';
import type { Route } from '../rtnetlink/routes.ts';
import type { NetlinkSocket } from '../rtnetlink/socket.ts';
import type { NetnsPath } from '../values.ts';
import { type ObservedSandbox, ruleText } from './observed.ts';

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
  sandbox.forwards = readSandboxForwarding(netns);
  for (const name of heedsMarks(netns, sandbox.devices.keys())) sandbox.heedsMarks.add(name);
  for (const rule of await socket.dump('rules', encodeRuleDump, decodePolicyRule)) {
    if (rule.protocol === OUR_PROTOCOL) sandbox.rules.add(ruleText(rule));
  }
  for (const { ipv6, prefixLength, table, gateway, ifindex } of routes) {
    if (ipv6 || prefixLength !== 0 || !isOurMark(table)) continue;
    sandbox.tableRoutes.set(table, `${gateway} ${links.get(ifindex ?? 0)?.name}`);
  }
}
