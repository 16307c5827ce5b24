import type { Desired, DesiredSandbox, Gate, OverlayLeg, ReturnPath, Vip } from '../desired.ts';
import { valueOfElement } from '../nft/elements.ts';
import { meshFor } from '../nft/mesh.ts';
import { gatesOf, returnsFor } from '../nft/returns.ts';
import { meshTable, tableName, tablesIn, vipTable } from '../nft/tables.ts';
import { vipsFor } from '../nft/vips.ts';
import { endpointObject, GATE_OBJECT, leftoverObject, returnsObject, sandboxObject, vipsObject } from '../objects.ts';
import { hasTraces, type ObservedSandbox, type ObservedTable, ruleText } from '../observe/observed.ts';
import { OUR_PRIORITY } from '../rtnetlink/policy.ts';
import type { SetChange } from '../steps.ts';
import {
  addressOf,
  type IfName,
  type Ip,
  must,
  type NetnsPath,
  parseCidr,
  parseIfName,
  parseNetnsPath,
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

const NOTHING: Pick<ObservedSandbox, 'forwards' | 'heedsMarks' | 'rules' | 'tableRoutes'> = {
  ...{ forwards: false, heedsMarks: new Set(), rules: new Set(), tableRoutes: new Map() },
};

function diffGate(draft: Draft, sandbox: DesiredSandbox, gate: Gate): void {
  const { netns } = sandbox;
  const needs = [sandboxObject(sandbox.id)];
  // The table first: without it a sandbox that passes packets on would be a router between its networks.
  diffTable(draft, 'sandboxes', GATE_OBJECT, meshFor(gate, netns), needs, whenToLead);
  const { forwards } = draft.observed.sandboxes.get(netns) ?? NOTHING;
  if (forwards) return;
  const action = { kind: 'forward-inside', where: netns, on: true } as const;
  draft.step('sandboxes', GATE_OBJECT, 'ip_forward is 0', action, needs);
}

/** Nobody is led to a leg any more before it goes, which takes some 20 ms a device, and to one that comes once it is there. */
function whenToLead(added: readonly SetChange[], there: ObservedTable): Phase {
  for (const { set, elements } of added) {
    if (set !== 'backends') continue;
    const fresh = new Set(elements.map(valueOfElement));
    for (const text of there.elements.get(set) ?? []) if (fresh.delete(valueOfElement(text)) && fresh.size === 0) break;
    if (fresh.size > 0) return 'sandboxes';
  }
  return 'unled';
}

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
  diffTable(draft, 'sandboxes', object, returnsFor(path, netns, localAddress(draft, sandbox, name)), needs);
  if (!stays || !heedsMarks.has(name)) {
    const why = `src_valid_mark of ${name} is 0`;
    draft.step('sandboxes', object, why, { kind: 'heed-marks', where: netns, name }, needs);
  }
  const wanted = new Set<string>();
  const tables = new Set<number>();
  for (const { ip, mark } of gatesOf(path)) {
    tables.add(mark);
    if (!stays || !device.up || tableRoutes.get(mark) !== `${ip} ${name}`) {
      const why = `route back to gate ${ip} is missing`;
      const action = { kind: 'table-route', where: netns, table: mark, via: ip, name } as const;
      draft.step('sandboxes', object, why, action, needs);
    }
    // Behind the route: a rule that leads nowhere has packets go by the next one.
    const rule = ruleText({ mark, mask: 0xffffffff, table: mark, priority: OUR_PRIORITY });
    wanted.add(rule);
    if (rules.has(rule)) continue;
    const why = `routing rule of gate ${ip} is missing`;
    draft.step('sandboxes', object, why, { kind: 'rule-add', where: netns, rule }, needs);
  }
  if (draft.options.prune && found) removeRouting(draft, netns, found, object, { rules: wanted, tables });
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
  diffTable(draft, 'sandboxes', object, vipsFor(vips, netns), [sandboxObject(id)]);
}

/** Who is to take it in has not been told of it yet. */
const isUntaken = ({ handed }: OverlayLeg): boolean => handed !== undefined && !handed.taken;

const legWith = (sandbox: ObservedSandbox | undefined, mac: string): IfName | undefined => {
  const found = [...(sandbox?.devices ?? [])].find(([, device]) => device.mac === mac && device.peer !== null);
  return found && must(parseIfName(found[0]));
};

/** The IPv4 address by which a sandbox sends to where no other route goes; null when that is by its leg `except`, or not at all. */
function localAddress(draft: Draft, sandbox: DesiredSandbox, except: IfName): Ip | null {
  const { netns, bridgeLegs, directLegs } = sandbox;
  const way = bridgeLegs.find(({ isDefault }) => isDefault) ?? directLegs.find(({ defaultVia }) => defaultVia !== null);
  const addresses = way?.addresses ?? (sandbox.owned ? [] : foundAddresses(draft, netns, except));
  const ipv4 = [...addresses].find((address) => !address.includes(':'));
  return ipv4 === undefined ? null : addressOf(must(parseCidr(ipv4)));
}

/** Of the device that a default route goes by which somebody else made, as Docker in its containers. */
function foundAddresses(draft: Draft, netns: NetnsPath, except: IfName): Iterable<string> {
  const found = draft.observed.sandboxes.get(netns);
  const name = found?.defaultRoute?.device ?? '';
  const device = found?.devices.get(name);
  if (!device || name === except) return [];
  return draft.removedPorts.has(device.peer ?? '') || draft.removedInner.has(`${netns} ${name}`)
    ? []
    : device.addresses;
}

const NO_ROUTING = { rules: new Set<string>(), tables: new Set<number>() };

/** Rules and routes of ours that nothing wants. */
function removeRouting(
  draft: Draft,
  where: NetnsPath,
  { devices, rules, tableRoutes }: ObservedSandbox,
  object: string,
  keep: { readonly rules: ReadonlySet<string>; readonly tables: ReadonlySet<number> },
): void {
  for (const rule of rules) {
    if (keep.rules.has(rule)) continue;
    draft.step('unused', object, `routing rule ${rule} is extra`, { kind: 'rule-delete', where, rule });
  }
  for (const [table, to] of tableRoutes) {
    if (keep.tables.has(table)) continue;
    const device = to.slice(to.indexOf(' ') + 1);
    const goes = draft.removedPorts.has(devices.get(device)?.peer ?? '');
    if (goes) continue;
    draft.step('unused', object, `route of table ${table} is extra`, { kind: 'table-route-delete', where, table });
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
      if (name === MESH && found.forwards) {
        draft.step('unused', object, 'ip_forward is 1', { kind: 'forward-inside', where, on: false });
      }
      draft.step('unused', object, `nft table ${name} is extra`, { kind: 'table-delete', table });
    }
  }
}
