import type { Desired, DesiredSandbox, Gate, OverlayLeg, ReturnPath, Vip } from '../desired.ts';
import { valueOfElement } from '../nft/elements.ts';
import { meshFor } from '../nft/mesh.ts';
import { gatesOf, LAST_TABLE, returnsFor } from '../nft/returns.ts';
import { meshTable, tableName, tablesIn, vipTable } from '../nft/tables.ts';
import { vipsFor } from '../nft/vips.ts';
import { endpointObject, GATE_OBJECT, leftoverObject, returnsObject, sandboxObject, vipsObject } from '../objects.ts';
import {
  hasTraces,
  type ObservedSandbox,
  type ObservedTable,
  routeText,
  ruleText,
  tableOfText,
  tableText,
} from '../observe/observed.ts';
import { LAST_PRIORITY, OUR_PRIORITY, type PolicyRule } from '../rtnetlink/policy.ts';
import type { SetChange } from '../steps.ts';
import {
  addressOf,
  type Cidr,
  type IfName,
  type Ip,
  isIpv6,
  must,
  type NetnsPath,
  parseCidr,
  parseIfName,
  parseNetnsPath,
  prefixOf,
} from '../values.ts';
import type { Draft, Phase } from './diff.ts';
import { diffTable } from './tables.ts';

const [MESH, VIPS] = [meshTable, vipTable].map((of) => tableName(of('' as NetnsPath)));

/** What connections to published ports, and to virtual addresses, need in sandboxes. Behind their legs. */
export function* diffIngress(draft: Draft, { sandboxes }: Desired): Generator<void> {
  for (const sandbox of sandboxes) {
    if (sandbox.gate) diffGate(draft, sandbox, sandbox.gate);
    if (sandbox.returns) diffReturns(draft, sandbox, sandbox.returns);
    if (sandbox.vips) diffVips(draft, sandbox, sandbox.vips);
    if (sandbox.gate || sandbox.returns || sandbox.vips) yield;
  }
}

const NOTHING: Pick<ObservedSandbox, 'forwards' | 'forwards6' | 'heedsMarks' | 'rules' | 'tableRoutes'> = {
  ...{ forwards: false, forwards6: false, heedsMarks: new Set(), rules: new Set(), tableRoutes: new Map() },
};

function diffGate(draft: Draft, sandbox: DesiredSandbox, gate: Gate): void {
  const { netns } = sandbox;
  const needs = [sandboxObject(sandbox.id)];
  // The table first: without it a sandbox that passes packets on would be a router between its networks.
  const ipv6 = sandbox.overlayLegs.some(
    ({ ifName, addresses }) => ifName === gate.legIfName && prefixes6(addresses).length > 0,
  );
  diffTable(draft, 'sandboxes', GATE_OBJECT, meshFor(gate, netns, ipv6), needs, whenToLead);
  const { forwards, forwards6 } = draft.observed.sandboxes.get(netns) ?? NOTHING;
  if (!forwards) {
    const action = { kind: 'forward-inside', where: netns, ipv6: false, on: true } as const;
    draft.step('sandboxes', GATE_OBJECT, 'ip_forward is 0', action, needs);
  }
  if (ipv6 !== forwards6 && (ipv6 || draft.options.prune)) {
    const action = { kind: 'forward-inside', where: netns, ipv6: true, on: ipv6 } as const;
    draft.step('sandboxes', GATE_OBJECT, `forwarding of IPv6 is ${Number(forwards6)}`, action, needs);
  }
}

/** Maps of gates, and of virtual addresses, that lead to addresses of endpoints. */
const LEADING: ReadonlySet<string> = new Set(['backends', 'backends6', 'slots4', 'slots6']);

/** Nobody is led to a leg any more before it goes, which takes some 20 ms a device, and to one that comes once it is there. */
function whenToLead(added: readonly SetChange[], there: ObservedTable): Phase {
  for (const { set, elements } of added) {
    if (!LEADING.has(set)) continue;
    const fresh = new Set(elements.map(valueOfElement));
    for (const text of there.elements.get(set) ?? []) if (fresh.delete(valueOfElement(text)) && fresh.size === 0) break;
    if (fresh.size > 0) return 'sandboxes';
  }
  return 'unled';
}

const prefixes6 = (addresses: readonly Cidr[]): Cidr[] =>
  addresses.filter((address) => isIpv6(addressOf(address))).map(prefixOf);

function diffReturns(draft: Draft, sandbox: DesiredSandbox, path: ReturnPath): void {
  const { netns } = sandbox;
  const object = returnsObject(sandbox.id);
  const leg = sandbox.overlayLegs.find(({ mac }) => mac === path.mac);
  if (leg && isUntaken(leg)) return;
  const found = draft.observed.sandboxes.get(netns);
  const name = leg && !leg.handed ? leg.ifName : legWith(found, path.mac);
  if (name === undefined) {
    draft.conflict(object, `the leg with MAC ${path.mac} in ${netns} does not exist`);
    return;
  }
  const needs = [sandboxObject(sandbox.id), ...(leg ? [endpointObject(leg.endpointId)] : [])];
  const device = found?.devices.get(name);
  const stays =
    device !== undefined && !draft.removedPorts.has(device.peer ?? '') && !draft.removedInner.has(`${netns} ${name}`);
  const { heedsMarks, rules, tableRoutes } = found ?? NOTHING;
  const returnLeg = {
    name,
    prefixes6: path.gates.some(({ ip6 }) => ip6) ? prefixes6([...(leg?.addresses ?? []), ...(leg?.onLink ?? [])]) : [],
    local: localAddress(draft, sandbox, name, false),
    local6: localAddress(draft, sandbox, name, true),
  };
  diffTable(draft, 'sandboxes', object, returnsFor(path, netns, returnLeg), needs);
  if (!stays || !heedsMarks.has(name)) {
    const why = `src_valid_mark of ${name} is 0`;
    draft.step('sandboxes', object, why, { kind: 'heed-marks', where: netns, name }, needs);
  }
  const wanted = { rules: new Set<string>(), tables: new Set<string>() };
  for (const way of waysBack(path, returnLeg.prefixes6.length > 0)) {
    const { ipv6, table, via, what } = way;
    const text = tableText(way);
    wanted.tables.add(text);
    if (!stays || !device.up || tableRoutes.get(text) !== routeText(via, name)) {
      const action = { kind: 'table-route', where: netns, ipv6, table, via, name } as const;
      draft.step('sandboxes', object, `route ${what} is missing`, action, needs);
    }
    // Behind the route: a rule that leads nowhere has packets go by the next one.
    const rule = ruleText(way);
    wanted.rules.add(rule);
    if (rules.has(rule)) continue;
    const why = `routing rule ${what} is missing`;
    draft.step('sandboxes', object, why, { kind: 'rule-add', where: netns, rule }, needs);
  }
  if (draft.options.prune && found) removeRouting(draft, netns, found, object, wanted);
}

interface WayBack extends Omit<PolicyRule, 'protocol'> {
  /** null: all is on the link. */
  readonly via: Ip | null;
  /** For people. */
  readonly what: string;
}

/** By whom packets go back, of which marks. Those of IPv6 last: where the kernel lacks what they take, the others are there. */
function waysBack(path: ReturnPath, ipv6: boolean): WayBack[] {
  const gates = gatesOf(path);
  const backTo = (via: Ip, mark: number): WayBack => ({
    ...{ ipv6: isIpv6(via), mark, mask: 0xffffffff, table: mark, priority: OUR_PRIORITY },
    ...{ via, what: `back to gate ${via}` },
  });
  const ways = gates.map(({ ip, mark }) => backTo(ip, mark));
  if (!ipv6) return ways;
  const ways6 = gates.flatMap(({ ip6, mark }) => (ip6 === null ? [] : [backTo(ip6, mark)]));
  const last = { ipv6, mark: 0, mask: 0, table: LAST_TABLE, priority: LAST_PRIORITY, via: null };
  return [...ways, ...ways6, { ...last, what: 'of what IPv6 goes nowhere else' }];
}

function diffVips(draft: Draft, sandbox: DesiredSandbox, vips: readonly Vip[]): void {
  const { id, netns, overlayLegs } = sandbox;
  const object = vipsObject(id);
  const found = draft.observed.sandboxes.get(netns);
  if (sandbox.awaited) {
    const taken = overlayLegs.filter((leg) => !isUntaken(leg));
    const [first] = taken;
    if (first === undefined) return;
    if (!taken.some(({ mac }) => legWith(found, mac) !== undefined)) {
      draft.conflict(object, `the leg with MAC ${first.mac} in ${netns} does not exist`);
      return;
    }
  }
  diffTable(draft, 'sandboxes', object, vipsFor(vips, netns), [sandboxObject(id)], whenToLead);
}

/** Who is to take it in has not been told of it yet. */
const isUntaken = ({ handed }: OverlayLeg): boolean => handed !== undefined && !handed.taken;

const legWith = (sandbox: ObservedSandbox | undefined, mac: string): IfName | undefined => {
  const found = [...(sandbox?.devices ?? [])].find(([, device]) => device.mac === mac && device.peer !== null);
  return found && must(parseIfName(found[0]));
};

/** The address by which a sandbox sends to where no other route goes; null when that is by its leg `except`, or not at all. */
function localAddress(draft: Draft, sandbox: DesiredSandbox, except: IfName, ipv6: boolean): Ip | null {
  const { netns, bridgeLegs, directLegs } = sandbox;
  const way = bridgeLegs.find(({ isDefault }) => isDefault) ?? directLegs.find(({ defaultVia }) => defaultVia !== null);
  const addresses = way?.addresses ?? (sandbox.owned ? [] : foundAddresses(draft, netns, except, ipv6));
  const own = [...addresses].find((address) => address.includes(':') === ipv6);
  return own === undefined ? null : addressOf(must(parseCidr(own)));
}

/** Of the device that a default route goes by which somebody else made, as Docker in its containers. */
function foundAddresses(draft: Draft, netns: NetnsPath, except: IfName, ipv6: boolean): Iterable<string> {
  const found = draft.observed.sandboxes.get(netns);
  const name = (ipv6 ? found?.defaultRoute6 : found?.defaultRoute)?.device ?? '';
  const device = found?.devices.get(name);
  if (!device || name === except) return [];
  return draft.removedPorts.has(device.peer ?? '') || draft.removedInner.has(`${netns} ${name}`)
    ? []
    : device.addresses;
}

const NO_ROUTING = { rules: new Set<string>(), tables: new Set<string>() };

/** Rules and routes of ours that nothing wants. */
function removeRouting(
  draft: Draft,
  where: NetnsPath,
  { devices, rules, tableRoutes }: ObservedSandbox,
  object: string,
  keep: { readonly rules: ReadonlySet<string>; readonly tables: ReadonlySet<string> },
): void {
  for (const rule of rules) {
    if (keep.rules.has(rule)) continue;
    draft.step('unused', object, `routing rule ${rule} is extra`, { kind: 'rule-delete', where, rule });
  }
  for (const [text, to] of tableRoutes) {
    if (keep.tables.has(text)) continue;
    const device = to.slice(to.indexOf(' ') + 1);
    const goes = draft.removedPorts.has(devices.get(device)?.peer ?? '');
    if (goes) continue;
    const action = { kind: 'table-route-delete', where, ...tableOfText(text) } as const;
    draft.step('unused', object, `route of table ${text} is extra`, action);
  }
}

/** Takes out of namespaces what nothing wants there any more; also of those of others, which are no sandboxes any more. */
export function removeUnusedIngress(draft: Draft, desired: Desired): void {
  const wanted = new Map(desired.sandboxes.map((sandbox) => [sandbox.netns as string, sandbox]));
  for (const [path, found] of draft.observed.sandboxes) {
    if (!hasTraces(found)) continue;
    const sandbox = wanted.get(path);
    if (!sandbox && draft.observed.ownedNetns.has(path)) continue;
    const where = must(parseNetnsPath(path));
    const object = leftoverObject(`ingress in ${path}`);
    if (!sandbox?.returns) removeRouting(draft, where, found, object, NO_ROUTING);
    // Last, since it is by the table that the rest is found.
    for (const table of tablesIn(where)) {
      const name = tableName(table);
      const stays = name === MESH ? sandbox?.gate : name === VIPS ? sandbox?.vips : sandbox?.returns;
      if (stays || !found.tables.has(name)) continue;
      for (const ipv6 of name === MESH ? [false, true] : []) {
        if (!(ipv6 ? found.forwards6 : found.forwards)) continue;
        const why = ipv6 ? 'forwarding of IPv6 is 1' : 'ip_forward is 1';
        draft.step('unused', object, why, { kind: 'forward-inside', where, ipv6, on: false });
      }
      draft.step('unused', object, `nft table ${name} is extra`, { kind: 'table-delete', table });
    }
  }
}
