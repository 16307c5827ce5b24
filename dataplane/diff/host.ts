import type { BridgeLeg, Desired, DesiredBridge } from '../desired.ts';
import { hostBridgeMac, hostPortName, isOurHostBridge, OUR_ALIAS } from '../names.ts';
import { type GuardedBridge, type GuardedLink, type PublishedTo, rulesFor } from '../nft/rules.ts';
import { tableName, USER_TABLE } from '../nft/tables.ts';
import { userTable } from '../nft/user.ts';
import { bridgeObject, endpointObject, RULES_OBJECT, USER_OBJECT } from '../objects.ts';
import { addressOf, isIpv6, must, parseCidr } from '../values.ts';
import type { Draft } from './diff.ts';
import { diffTable } from './tables.ts';

/**
 * The bridges of the host, their addresses, the rules around them, and the host's forwarding. Returns whether there are to
 * be rules at all.
 */
export function diffHost(draft: Draft, desired: Desired): boolean {
  const usable = desired.bridges.filter((bridge) => !isInTheWay(draft, bridge));
  const published = publishedOn(desired);
  const hasRules = diffRules(draft, usable, published, linksOf(desired));
  // Whatever is in it is as its owner wants it. Last, since nobody waits for an empty one.
  if (hasRules && !draft.observed.tables.has(tableName(USER_TABLE))) {
    draft.step('unused', USER_OBJECT, `nft table ${tableName(USER_TABLE)} missing`, {
      kind: 'table-replace',
      ...userTable,
    });
  }
  for (const bridge of usable) diffBridge(draft, bridge, published.has(bridge.name));
  return hasRules;
}

/** The bridge is, or will be, one that we made. */
function isOurs({ observed: { host } }: Draft, { name }: DesiredBridge): boolean {
  const there = host.devices.get(name);
  return !there || isOurHostBridge(name, there);
}

function isInTheWay(draft: Draft, bridge: DesiredBridge): boolean {
  const { host } = draft.observed;
  const { name, address } = bridge;
  const there = host.devices.get(name);
  if (there && there.kind !== 'bridge') {
    const kind = there.kind || 'physical';
    draft.conflict(bridgeObject(name), `${name} is a ${kind} device, not a bridge; rename or remove it`);
    return true;
  }
  const addresses = host.addresses.get(name) ?? new Set();
  if (isOurs(draft, bridge) || addresses.has(address)) return false;
  const has = [...addresses].join(', ') || 'no address';
  draft.conflict(
    bridgeObject(name),
    `${name} is not ours and has ${has}, not ${address}; use its address, or remove it`,
  );
  return true;
}

/** Before any bridge is up: nothing may pass one that is not guarded yet. */
function diffRules(
  draft: Draft,
  bridges: readonly DesiredBridge[],
  published: ReadonlyMap<string, readonly PublishedTo[]>,
  links: readonly HostLink[],
): boolean {
  const { forwarding, forwarding6 } = draft.observed.host;
  const wants6 = links.length > 0;
  const guarded = bridges.map(
    (bridge): GuardedBridge => ({
      ...bridge,
      isOurs: isOurs(draft, bridge),
      published: published.get(bridge.name) ?? [],
    }),
  );
  const guardForwarding = forwarding.byUs || !forwarding.on;
  const guardForwarding6 = forwarding6.byUs ? wants6 || !draft.options.prune : wants6 && !forwarding6.on;
  const rules = rulesFor({ bridges: guarded, links, guardForwarding, guardForwarding6 });
  if (!wants6 && forwarding6.byUs && draft.options.prune) {
    // Before its guard goes.
    const action = { kind: 'forwarding6-off', heeding: forwarding6.heeding } as const;
    draft.step('unused legs', RULES_OBJECT, 'forwarding of IPv6 is 1', action);
  }
  if (rules !== null) diffTable(draft, 'namespaces', RULES_OBJECT, rules);
  if (bridges.length > 0 && !forwarding.on) {
    draft.step('namespaces', RULES_OBJECT, 'ip_forward is 0', { kind: 'forwarding-on' });
  }
  const deafened = forwarding6.byUs && forwarding6.deaf.length > 0;
  if (wants6 && (!forwarding6.on || deafened)) {
    const why = forwarding6.on
      ? `router advertisements are not heeded: ${forwarding6.deaf[0]}`
      : 'forwarding of IPv6 is 0';
    const action = { kind: 'forwarding6-on', deaf: forwarding6.deaf } as const;
    // Of those who need it: a kernel without IPv6 can do all else.
    for (const { object } of links.slice(0, 1)) draft.step('namespaces', object, why, action, [RULES_OBJECT]);
  }
  return rules !== null;
}

/** By bridge. */
function publishedOn({ sandboxes }: Desired): ReadonlyMap<string, readonly PublishedTo[]> {
  const all = new Map<string, PublishedTo[]>();
  for (const { bridgeLegs } of sandboxes) {
    for (const { bridge, ...leg } of bridgeLegs) {
      const ports = publishedTo(leg, false);
      if (ports.length > 0) all.set(bridge, [...(all.get(bridge) ?? []), ...ports]);
    }
  }
  return all;
}

interface HostLink extends GuardedLink {
  readonly object: string;
}

const linksOf = ({ sandboxes }: Desired): HostLink[] =>
  sandboxes.flatMap(({ hostLeg }) =>
    hostLeg === undefined
      ? []
      : [
          {
            ...{ name: hostPortName(hostLeg.endpointId), object: endpointObject(hostLeg.endpointId) },
            published: publishedTo(hostLeg, true),
          },
        ],
  );

/** To the leg's address of that family. */
function publishedTo(
  { addresses, published }: Pick<BridgeLeg, 'addresses' | 'published'>,
  ipv6: boolean,
): PublishedTo[] {
  const ip = published.length === 0 ? undefined : addresses.map(addressOf).find((each) => isIpv6(each) === ipv6);
  if (ip === undefined) return [];
  // One that is at an address of the host is of that family.
  const ofFamily = published.filter(({ hostIp }) => hostIp === null || isIpv6(hostIp) === ipv6);
  return ofFamily.map((port) => ({ ...port, ip }));
}

function diffBridge(draft: Draft, bridge: DesiredBridge, published: boolean): void {
  const { name, address } = bridge;
  const { host } = draft.observed;
  const object = bridgeObject(name);
  const needs = [RULES_OBJECT];
  const there = host.devices.get(name);
  const ours = isOurs(draft, bridge);
  const addresses = host.addresses.get(name) ?? new Set();
  if (!there) {
    const mac = hostBridgeMac(name);
    draft.step('host', object, 'missing', { kind: 'bridge-add', where: null, name, mtu: null, mac }, needs);
  }
  if (ours && there?.alias !== OUR_ALIAS) {
    const why = there ? 'has not our mark' : 'missing';
    draft.step('host', object, why, { kind: 'device-set', where: null, name, set: { alias: OUR_ALIAS } }, needs);
  }
  if (ours && !(there && addresses.has(address))) {
    const action = { kind: 'address-add', where: null, name, address } as const;
    draft.step('host', object, `address ${address} is missing`, action, needs);
  }
  if (ours && there && draft.options.prune) {
    for (const other of addresses) {
      const parsed = must(parseCidr(other));
      if (parsed === address) continue;
      const action = { kind: 'address-delete', where: null, name, address: parsed } as const;
      draft.step('host', object, `address ${other} is extra`, action, needs);
    }
  }
  // Of a bridge that is not ours it would stay on, without our rules that keep its ports from the host's own loopback.
  if (ours && published && !(there && host.localnet.has(name))) {
    draft.step('host', object, 'route_localnet is 0', { kind: 'localnet-on', device: name }, needs);
  }
  if (!there?.up) {
    draft.step('host', object, 'is down', { kind: 'device-set', where: null, name, set: { up: true } }, needs);
  }
}
