import { OVERLAY_NETNS, parseOurName } from '../names.ts';
import { elementText } from '../nft/elements.ts';
import { isOurMark } from '../nft/returns.ts';
import { digestOf, type OurTable, tableName, tablesIn } from '../nft/tables.ts';
import { routeText, ruleText, tableText } from '../observe/observed.ts';
import { decodeBridgePortLink, decodeLink, encodeLinkDump, type Link } from '../rtnetlink/links.ts';
import { decodeNeighbourEvent, type EntryEvent, OUR_PROTOCOL } from '../rtnetlink/neighbours.ts';
import { type TableChange, TableWatch } from '../rtnetlink/nft-events.ts';
import { decodeNft } from '../rtnetlink/nft-wire.ts';
import { decodePolicyRule } from '../rtnetlink/policy.ts';
import { decodeAddress, decodeForwarding, decodeRoute, isLinkLocal } from '../rtnetlink/routes.ts';
import { NetlinkSocket } from '../rtnetlink/socket.ts';
import {
  AF_BRIDGE,
  AF_UNSPEC,
  type Message,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWNETCONF,
  RTM_NEWROUTE,
  RTM_NEWRULE,
} from '../rtnetlink/wire.ts';
import type { Where } from '../steps.ts';
import type { KernelEvent } from './doubt.ts';

/** Whether a notification is of an FDB or a neighbour entry, and so nothing that a decoder has to keep up with. */
export const isEntry = ({ type }: Message): boolean => type === RTM_NEWNEIGH || type === RTM_DELNEIGH;

/**
 * Turns notifications of one namespace into events. Those name devices by index alone, except links themselves; so the
 * names are listed once and then followed.
 */
export class EventDecoder {
  readonly #where: Where;
  readonly #names = new Map<number, string>();
  readonly #tables: readonly { readonly table: OurTable; readonly watch: TableWatch }[];

  constructor(where: Where) {
    this.#where = where;
    this.#tables = tablesIn(where).map((table) => ({ table, watch: new TableWatch(table) }));
  }

  /** To be called when the namespace is heard already, so that no device is missed in between. Throws SystemError. */
  async listNames(): Promise<void> {
    using socket = NetlinkSocket.open(this.#where);
    for (const { ifindex, name } of await socket.dump('links', encodeLinkDump, decodeLink)) {
      this.#names.set(ifindex, name);
    }
  }

  decode(message: Message, nft: boolean): KernelEvent[] {
    if (nft) return this.#ofTables(message);
    switch (message.type) {
      case RTM_NEWLINK:
      case RTM_DELLINK:
        return this.#link(message);
      case RTM_NEWNEIGH:
      case RTM_DELNEIGH:
        return this.#entry(message);
      case RTM_NEWADDR:
      case RTM_DELADDR:
        return this.#address(message);
      case RTM_NEWROUTE:
      case RTM_DELROUTE:
        return this.#route(message);
      case RTM_NEWRULE:
      case RTM_DELRULE: {
        const rule = decodePolicyRule(message);
        if (rule === null || rule.protocol !== OUR_PROTOCOL) return [];
        return [{ kind: 'rule', where: this.#where, rule: ruleText(rule), gone: message.type === RTM_DELRULE }];
      }
      case RTM_NEWNETCONF: {
        const forwarding = decodeForwarding(message);
        return forwarding === null ? [] : [{ kind: 'forwarding', where: this.#where, ...forwarding }];
      }
      default:
        return [];
    }
  }

  #link(message: Message): KernelEvent[] {
    const where = this.#where;
    const family = message.buffer[message.start];
    const gone = message.type === RTM_DELLINK;
    if (family === AF_BRIDGE) {
      // That a port is none any more is said of the link, too.
      const found = gone ? null : decodeBridgePortLink(message);
      const name = found && this.#names.get(found.ifindex);
      return found && name ? [{ kind: 'port', where, name, port: found.port }] : [];
    }
    if (family !== AF_UNSPEC) return [];
    const link = decodeLink(message);
    const before = this.#names.get(link.ifindex);
    if (gone) this.#names.delete(link.ifindex);
    else this.#names.set(link.ifindex, link.name);
    const event: KernelEvent = { kind: 'device', where, name: link.name, device: gone ? null : this.#device(link) };
    // A new name: what had the old one has gone.
    if (gone || before === undefined || before === link.name) return [event];
    return [{ kind: 'device', where, name: before, device: null }, event];
  }

  #device({ kind, mtu, mac, up, alias, masterIndex, vxlan, bridgePort }: Link) {
    const master = masterIndex === null ? null : (this.#names.get(masterIndex) ?? null);
    return { kind, mtu, mac, up, alias, master, vxlan, port: bridgePort };
  }

  #entry(message: Message): KernelEvent[] {
    if (this.#where !== OVERLAY_NETNS) return [];
    const event = decodeNeighbourEvent(message);
    const device = event && this.#names.get(event.ifindex);
    return event && device ? [toEntryEvent(device, event)] : [];
  }

  #address(message: Message): KernelEvent[] {
    const { ifindex, ip, prefixLength, scope } = decodeAddress(message);
    const device = this.#names.get(ifindex);
    const address = `${ip}/${prefixLength}`;
    if (device === undefined || scope !== 0) return [];
    const isOurs = parseOurName(device)?.kind === 'hostPort';
    if (this.#where === null && ip.includes(':') !== isOurs) return [];
    return [{ kind: 'address', where: this.#where, device, address, gone: message.type === RTM_DELADDR }];
  }

  #route(message: Message): KernelEvent[] {
    const route = decodeRoute(message);
    const { ipv6, destination, prefixLength, gateway: via, ifindex, metric, inMainTable, table, unicast } = route;
    if (prefixLength === 0 && isOurMark(table)) {
      const to = routeText(via, this.#names.get(ifindex ?? 0) ?? '');
      const gone = message.type === RTM_DELROUTE;
      return [{ kind: 'table-route', where: this.#where, table: tableText({ ipv6, table }), to, gone }];
    }
    // The kernel has a default route of IPv6 that says that there is none.
    if (!inMainTable || isLinkLocal(destination) || (ipv6 && !unicast)) return [];
    const device = ifindex === null ? null : (this.#names.get(ifindex) ?? null);
    const prefix = prefixLength === 0 ? null : `${destination}/${prefixLength}`;
    const gone = message.type === RTM_DELROUTE;
    return [{ kind: 'route', where: this.#where, ipv6, destination: prefix, metric, via, device, gone }];
  }

  #ofTables(message: Message): KernelEvent[] {
    const told = decodeNft(message);
    if (told === null) return [];
    return this.#tables.flatMap(({ table, watch }) => {
      const change = watch.read(told);
      return change === null ? [] : toTableEvents(table, change);
    });
  }
}

function toTableEvents(table: OurTable, change: TableChange): KernelEvent[] {
  const { where } = table;
  const name = tableName(table);
  switch (change.kind) {
    case 'deleted':
      return [{ kind: 'table', where, table: name, digest: null }];
    case 'made':
      return [{ kind: 'table', where, table: name, digest: digestOf(table, change.comments) }];
    case 'altered':
      return [{ kind: 'table', where, table: name, digest: 'altered' }];
    case 'elements': {
      const { set, gone } = change;
      const kind = table.sets[set];
      if (kind === undefined) return [];
      return change.elements.flatMap((element) => {
        const key = elementText(kind, element);
        return key === null ? [] : [{ kind: 'element', where, table: name, set, key, gone }];
      });
    }
  }
}

function toEntryEvent(device: string, { kind, key, entry }: EntryEvent): KernelEvent {
  switch (kind) {
    case 'static':
      return { kind, device, mac: key, gone: entry === null };
    case 'fdb':
      return { kind, device, mac: key, vtep: entry?.kind === 'fdb' && entry.permanent ? entry.vtep : null };
    case 'neighbour':
      return {
        kind,
        device,
        ip: key,
        entry: entry?.kind === 'neighbour' ? { mac: entry.mac, ours: entry.ours } : null,
      };
  }
}
