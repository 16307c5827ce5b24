import { closeSync, openSync, readdirSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  devicesWithIpv6,
  localnetIsOn,
  newDevicesHeedRouters,
  overlayNetnsIsQuiet,
  readForwarding,
  readForwarding6,
} from '../apply/sysctl.ts';
import type { Desired, DesiredSandbox } from '../desired.ts';
import { isOurParent } from '../diff/direct.ts';
import { namesOnHost } from '../host-names.ts';
import { isOurHostBridge, isOurHostDevice, isOwnedNetns, NETNS_DIR, OVERLAY_NETNS, parseOurName } from '../names.ts';
import { elementText } from '../nft/elements.ts';
import { digestOf, tableName, tablesIn, USER_TABLE, vipTable } from '../nft/tables.ts';
import { SystemError } from '../rtnetlink/libc.ts';
import { decodeLink, encodeLinkDump, type Link } from '../rtnetlink/links.ts';
import { NftSocket } from '../rtnetlink/nft-tables.ts';
import {
  type Address,
  decodeAddress,
  decodeNetnsId,
  decodeRoute,
  encodeAddressDump,
  encodeNetnsIdOf,
  encodeRouteDump,
  encodeRouteTo,
  isLinkLocal,
  type Route,
} from '../rtnetlink/routes.ts';
import { NetlinkSocket } from '../rtnetlink/socket.ts';
import { AF_INET, AF_INET6 } from '../rtnetlink/wire.ts';
import { devicesThatOffload } from '../selftest/offload.ts';
import { SLICE_MS } from '../slices.ts';
import type { Where } from '../steps.ts';
import type { NetnsPath } from '../values.ts';
import { observeEntries } from './entries.ts';
import { observeIngress } from './ingress.ts';
import {
  emptyObserved,
  hasTraces,
  type NetnsState,
  type Observed,
  type ObservedDefaultRoute,
  type ObservedDevice,
  type ObservedSandbox,
  type ObservedSandboxDevice,
  tablesOf,
  unknownSandbox,
} from './observed.ts';

const RT_SCOPE_UNIVERSE = 0;
/** What is listed right after a transaction was counted may be older than that; what is listed once more is not. */
const LISTINGS = 2;

/**
 * Lists the kernel: the host's namespace, the overlay namespace, and the sandboxes that `desired` names. Gives the event
 * loop a turn every few milliseconds. Throws SystemError or CommandError when something cannot be listed; a namespace
 * that is missing or no namespace is a finding, not an error.
 * @param before what was known until now, which is given up: of what has not changed, the same objects are handed on
 */
export async function observe(desired: Desired, runDir: string, before: Observed | null = null): Promise<Observed> {
  const observed = emptyObserved();
  const hostLinks = await observeHost(observed, desired, runDir, before);
  const overlayLinks = await observeOverlays(observed, before);
  await observeSandboxes(observed, desired, { host: hostLinks, overlay: overlayLinks, before });
  for (const name of listNetnsDir())
    if (isOwnedNetns(`${NETNS_DIR}/${name}`)) observed.ownedNetns.add(`${NETNS_DIR}/${name}`);
  return observed;
}

function listNetnsDir(): string[] {
  try {
    return readdirSync(NETNS_DIR);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

type Links = ReadonlyMap<number, Link>;

async function listLinks(socket: NetlinkSocket): Promise<Map<number, Link>> {
  const links = await socket.dump('links', encodeLinkDump, decodeLink);
  return new Map(links.map((link) => [link.ifindex, link]));
}

const listAddresses = (socket: NetlinkSocket): Promise<Address[]> =>
  socket.dump('addresses', encodeAddressDump, (message) => {
    const address = decodeAddress(message);
    return address.scope === RT_SCOPE_UNIVERSE ? address : null;
  });

function toDevice(link: Link, links: Links): ObservedDevice {
  const { kind, mtu, mac, up, alias, vxlan, bridgePort } = link;
  const master = link.masterIndex === null ? null : (links.get(link.masterIndex)?.name ?? null);
  return { kind, mtu, mac, up, alias, master, vxlan, port: bridgePort };
}

async function observeHost(
  observed: Observed,
  desired: Desired,
  runDir: string,
  before: Observed | null,
): Promise<Links> {
  const { host } = observed;
  host.forwarding = readForwarding(runDir);
  using socket = NetlinkSocket.open(null);
  await observeTables(observed, null, before);
  const links = await listLinks(socket);
  const wanted = namesOnHost(desired);
  for (const link of links.values()) {
    const ours = isOurHostDevice(link.name) || isOurHostBridge(link.name, link) || isOurParent(link.name, link);
    if (ours || wanted.has(link.name)) host.devices.set(link.name, toDevice(link, links));
  }
  host.forwarding6 = { ...readForwarding6(runDir), deaf: deafOnForwarding(links.values()) };
  const isBridge = ({ name }: Link): boolean => host.devices.get(name)?.kind === 'bridge';
  // Our end of a leg to a bridge is a port of that; of one to the host itself it is not.
  const isEnd = ({ name, masterIndex }: Link): boolean =>
    masterIndex === null && parseOurName(name)?.kind === 'hostPort';
  const [bridges, ends] = [isBridge, isEnd].map((is) => [...links.values()].filter(is));
  if (bridges?.length === 0 && ends?.length === 0) return links;
  for (const { ifindex, ip, prefixLength } of await listAddresses(socket)) {
    const link = links.get(ifindex);
    if (!link || !(ip.includes(':') ? isEnd(link) : isBridge(link))) continue;
    host.addresses.set(link.name, (host.addresses.get(link.name) ?? new Set()).add(`${ip}/${prefixLength}`));
  }
  for (const { name } of bridges ?? []) if (localnetIsOn(name)) host.localnet.add(name);
  for (const { name, ifindex, ipv6 } of ends ?? []) {
    if (ipv6 === 'quiet') host.quiet6.add(name);
    if (takesLoopback6(socket, ifindex)) host.loopback6.add(name);
  }
  return links;
}

/** Where router advertisements are heeded for as long as the host does not forward; `default` is of devices to come. */
function deafOnForwarding(links: Iterable<Link>): string[] {
  const deaf = [...links].filter(({ name, acceptRa }) => acceptRa === 1 && name !== 'lo').map(({ name }) => name);
  return newDevicesHeedRouters() ? ['default', ...deaf] : deaf;
}

/** True when what comes in by the device may go to ::1: there is a route for that which is of that device. */
function takesLoopback6(socket: NetlinkSocket, ifindex: number): boolean {
  try {
    socket.ask('route to ::1', (writer, seq) => encodeRouteTo(writer, seq, '::1', ifindex), decodeRoute);
    return true;
  } catch (error) {
    if (error instanceof SystemError) return false;
    throw error;
  }
}

async function observeTables(
  { tables, generations }: Pick<Observed, 'tables' | 'generations'>,
  where: Where,
  before: Observed | null,
): Promise<void> {
  using socket = new NftSocket(where);
  // Asked for before the tables are: of what comes in between, the next listing finds another.
  const text = socket.generation();
  const known = before?.generations.get(where);
  const listed = known !== undefined && known.text === text ? known.listed : 0;
  if (text !== null) generations.set(where, { text, listed: Math.min(listed + 1, LISTINGS) });
  const same = before !== null && listed === LISTINGS ? tablesOf(before, where) : undefined;
  for (const table of tablesIn(where)) {
    if (same !== undefined) {
      const there = same.get(tableName(table));
      if (there !== undefined) tables.set(tableName(table), there);
      continue;
    }
    const comments = await socket.comments(table);
    if (comments === null) continue;
    const elements = new Map<string, Set<string>>();
    let digest = digestOf(table, comments);
    if (table === USER_TABLE && !(await socket.isBare(table))) digest = 'altered';
    for (const [set, kind] of Object.entries(table.sets)) {
      const found = await socket.elements(table, set, (element) => elementText(kind, element));
      // No set can go while a rule asks it, so the rules tell whether it is wanted.
      if (found === null && table.optional?.includes(set)) continue;
      const keys = found ?? [null];
      // Without the set, or with another of its name, no rule of ours does what it says.
      if (keys.includes(null)) digest = 'altered';
      elements.set(set, new Set(keys.filter((key) => key !== null)));
    }
    tables.set(tableName(table), { digest, elements });
  }
}

/** Opens a socket in the namespace, or says why it cannot. */
function tryOpen(netns: NetnsPath): NetlinkSocket | Exclude<NetnsState, 'there'> {
  try {
    return NetlinkSocket.open(netns);
  } catch (error) {
    if (isGone(error)) return 'missing';
    // EINVAL of setns(2): a file, but no namespace; `ip netns add` leaves one behind when it is interrupted.
    if (error instanceof SystemError && error.errno === 22) return 'broken';
    throw error;
  }
}

function isGone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ENOTDIR';
}

async function observeOverlays(observed: Observed, before: Observed | null): Promise<Links> {
  const { weft } = observed;
  const opened = tryOpen(OVERLAY_NETNS);
  if (typeof opened === 'string') {
    weft.state = opened;
    return new Map();
  }
  using socket = opened;
  weft.state = 'there';
  await observeTables(observed, OVERLAY_NETNS, before);
  weft.quiet = overlayNetnsIsQuiet();
  const links = await listLinks(socket);
  for (const link of links.values()) {
    weft.devices.set(link.name, toDevice(link, links));
    if (link.kind === 'vxlan')
      weft.tunnels.set(link.name, { ipv6: false, softwareChecksums: true, fdb: new Map(), neighbours: new Map() });
  }
  for (const name of devicesWithIpv6(weft.tunnels.keys())) {
    const tunnel = weft.tunnels.get(name);
    if (tunnel) tunnel.ipv6 = true;
  }
  for (const name of devicesThatOffload(weft.tunnels.keys())) {
    const tunnel = weft.tunnels.get(name);
    if (tunnel) tunnel.softwareChecksums = false;
  }
  await observeEntries(socket, weft, links, before?.weft.tunnels ?? new Map());
  return links;
}

/**
 * Adds the sandboxes that are wanted and not in `observed` yet. False when one of them may already hold a leg of ours,
 * which only a whole listing can tell.
 */
export async function observeNewSandboxes(observed: Observed, desired: Desired): Promise<boolean> {
  const fresh = desired.sandboxes.filter(({ netns }) => !observed.sandboxes.has(netns));
  if (fresh.length === 0) return true;
  await observeSandboxes(observed, desired, { host: new Map(), overlay: new Map(), before: null });
  return !fresh.some(({ netns }) => {
    const devices = observed.sandboxes.get(netns)?.devices.values() ?? [];
    return [...devices].some(({ kind }) => kind === 'veth');
  });
}

/** Adds those of these namespaces that have something of ours of connections to published ports, and are no wanted sandboxes. */
export async function observeTraces(observed: Observed, paths: Iterable<NetnsPath>): Promise<void> {
  const around = { home: null, weft: null, host: new Map(), overlay: new Map(), before: null };
  for (const netns of paths) {
    if (observed.sandboxes.has(netns) || observed.ownedNetns.has(netns) || netns === OVERLAY_NETNS) continue;
    const found = await observeSandbox(observed, { netns }, around);
    if (hasTraces(found)) observed.sandboxes.set(netns, found);
    await nextTurn();
  }
}

async function observeSandboxes(
  observed: Observed,
  desired: Desired,
  around: Omit<Neighbourhood, 'home' | 'weft'>,
): Promise<void> {
  const home = openSync('/proc/self/ns/net', 'r');
  const weft = observed.weft.state === 'there' ? openSync(OVERLAY_NETNS, 'r') : null;
  try {
    let sliceStart = performance.now();
    for (const sandbox of desired.sandboxes) {
      const { netns } = sandbox;
      if (!observed.sandboxes.has(netns)) {
        observed.sandboxes.set(netns, await observeSandbox(observed, sandbox, { ...around, home, weft }));
      }
      if (performance.now() - sliceStart > SLICE_MS) {
        await nextTurn();
        sliceStart = performance.now();
      }
    }
  } finally {
    closeSync(home);
    if (weft !== null) closeSync(weft);
  }
}

type Looked = Pick<DesiredSandbox, 'netns' | 'gate' | 'returns'>;

interface Neighbourhood {
  readonly home: number | null;
  readonly weft: number | null;
  readonly host: Links;
  readonly overlay: Links;
  readonly before: Observed | null;
}

async function observeSandbox(
  { generations }: Pick<Observed, 'generations'>,
  wanted: Looked,
  around: Neighbourhood,
): Promise<ObservedSandbox> {
  const { netns } = wanted;
  const opened = tryOpen(netns);
  if (typeof opened === 'string') return unknownSandbox(opened);
  const sandbox = unknownSandbox('there');
  using socket = opened;
  const links = await listLinks(socket);
  // The far end of a veth is known by its index in a namespace, and that namespace by an id that only holds in here.
  const idOf = (fd: number | null): number | null =>
    fd === null ? null : socket.ask('namespace id', (writer, seq) => encodeNetnsIdOf(writer, seq, fd), decodeNetnsId);
  const homeId = idOf(around.home);
  const overlayId = idOf(around.weft);
  const peerOf = (link: Link): string | null => {
    if (link.kind !== 'veth' || link.peerIndex === null || link.peerNetnsId === null) return null;
    const [there, kind] =
      link.peerNetnsId === overlayId
        ? [around.overlay, 'overlayPort']
        : link.peerNetnsId === homeId
          ? [around.host, 'hostPort']
          : [null, ''];
    const name = there?.get(link.peerIndex)?.name;
    return name !== undefined && parseOurName(name)?.kind === kind ? name : null;
  };
  const parentOf = ({ peerIndex, peerNetnsId }: Link): string | null =>
    peerIndex === null || peerNetnsId === null || peerNetnsId !== homeId
      ? null
      : (around.host.get(peerIndex)?.name ?? null);
  const addresses = new Map<number, Set<string>>();
  for (const { ifindex, ip, prefixLength } of await listAddresses(socket)) {
    const known = addresses.get(ifindex) ?? new Set<string>();
    addresses.set(ifindex, known.add(`${ip}/${prefixLength}`));
  }
  const routes: Route[] = [];
  for (const family of [AF_INET, AF_INET6]) {
    routes.push(...(await socket.dump('routes', (writer, seq) => encodeRouteDump(writer, seq, family), decodeRoute)));
  }
  for (const link of links.values()) {
    const onLink = routes.filter(
      (route) =>
        route.inMainTable && route.ifindex === link.ifindex && !route.gateway && !isLinkLocal(route.destination),
    );
    const device: ObservedSandboxDevice = {
      ...toDevice(link, links),
      addresses: addresses.get(link.ifindex) ?? new Set(),
      onLink: new Set(onLink.map(({ destination, prefixLength }) => `${destination}/${prefixLength}`)),
      ipv6: link.ipv6,
      peer: peerOf(link),
      macvlan: link.macvlanMode === null ? undefined : { mode: link.macvlanMode, parent: parentOf(link) },
    };
    sandbox.devices.set(link.name, device);
  }
  const defaultOf = (ipv6: boolean): ObservedDefaultRoute | null => {
    const defaults = routes.filter(
      (route) => route.inMainTable && route.ipv6 === ipv6 && route.prefixLength === 0 && (!ipv6 || route.unicast),
    );
    const [best] = defaults.sort((left, right) => left.metric - right.metric);
    if (!best) return null;
    return { via: best.gateway, device: best.ifindex === null ? null : (links.get(best.ifindex)?.name ?? null) };
  };
  sandbox.defaultRoute = defaultOf(false);
  sandbox.defaultRoute6 = defaultOf(true);
  try {
    await observeTables({ tables: sandbox.tables, generations }, netns, around.before);
    const vipsAlone = sandbox.tables.size === 1 && sandbox.tables.has(tableName(vipTable(netns)));
    if (wanted.gate || wanted.returns || (sandbox.tables.size > 0 && !vipsAlone)) {
      await observeIngress(sandbox, { netns, socket, routes, links });
    }
  } catch (error) {
    // Both open it by its path once more, and it went meanwhile.
    if (!isGone(error)) throw error;
    return unknownSandbox('missing');
  }
  return sandbox;
}
