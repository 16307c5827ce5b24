import { legSettings, OVERLAY_SETTINGS } from './apply/sysctl.ts';
import type { MacvlanMode } from './desired.ts';
import { OVERLAY_NETNS } from './names.ts';
import { elementInScript } from './nft/elements.ts';
import { type DesiredTable, type OurTable, tableName } from './nft/tables.ts';
import { ruleOf } from './observe/observed.ts';
import type { BridgePortAttributes, Ipv6State } from './rtnetlink/links.ts';
import type { EntryWrite } from './rtnetlink/neighbours.ts';
import { OUR_PROTOCOL } from './rtnetlink/neighbours.ts';
import { LOOPBACK6_METRIC } from './rtnetlink/policy.ts';
import type { Cidr, IfName, Ip, Mac, NetnsPath, Vni } from './values.ts';

/** Which namespace a step works in; null is the host's. */
export type Where = NetnsPath | null;

interface Base {
  /** Status key of the object that the step is for; see objects.ts. */
  readonly object: string;
  /** Objects without which the step makes no sense. */
  readonly needs: readonly string[];
  /** `missing`, `extra`, or what differs; for the log. */
  readonly why: string;
}

/** One idempotent change of the kernel. */
export type Step = Base & Action;

export type Action =
  | { readonly kind: 'netns-add' | 'netns-delete'; readonly netns: NetnsPath }
  | { readonly kind: 'quieten' }
  | { readonly kind: 'ipv6-on' | 'checksums-in-software'; readonly device: IfName }
  | {
      readonly kind: 'leg-ipv6';
      readonly where: Where;
      readonly name: IfName;
      readonly ipv6: Exclude<Ipv6State, 'on'>;
    }
  | { readonly kind: 'forwarding-on' }
  /** And these go on heeding router advertisements. */
  | { readonly kind: 'forwarding6-on'; readonly deaf: readonly string[] }
  /** And these heed router advertisements only while the host does not forward, as they did before. */
  | { readonly kind: 'forwarding6-off'; readonly heeding: readonly string[] }
  /** What comes in by the device may be for ::1. */
  | { readonly kind: 'loopback6'; readonly name: IfName }
  | { readonly kind: 'localnet-on'; readonly device: IfName }
  | {
      readonly kind: 'bridge-add';
      readonly where: Where;
      readonly name: IfName;
      readonly mtu: number | null;
      readonly mac: Mac;
    }
  | {
      readonly kind: 'vxlan-add';
      readonly name: IfName;
      readonly vni: Vni;
      readonly vtep: Ip;
      readonly port: number;
      readonly mtu: number;
      readonly mac: Mac;
    }
  | {
      readonly kind: 'veth-add';
      readonly where: Where;
      readonly name: IfName;
      readonly mtu: number;
      readonly peerNetns: NetnsPath;
      readonly peerName: IfName;
      readonly peerMac: Mac;
    }
  | {
      readonly kind: 'macvlan-add';
      readonly netns: NetnsPath;
      readonly name: IfName;
      readonly parent: IfName;
      readonly mode: MacvlanMode;
      readonly mac: Mac | null;
      readonly mtu: number | null;
    }
  /** null: a device that leads nowhere. */
  | { readonly kind: 'parent-add'; readonly name: IfName; readonly vlan: { parent: IfName; id: number } | null }
  | {
      readonly kind: 'device-move';
      readonly where: Where;
      readonly name: IfName;
      readonly to: { readonly netns: Where; readonly name: IfName; readonly alias: string };
    }
  | { readonly kind: 'device-delete'; readonly where: Where; readonly name: string }
  | { readonly kind: 'device-set'; readonly where: Where; readonly name: IfName; readonly set: DeviceChange }
  | {
      readonly kind: 'address-add' | 'address-delete';
      readonly where: Where;
      readonly name: IfName;
      readonly address: Cidr;
    }
  | { readonly kind: 'default-route'; readonly where: NetnsPath; readonly via: Ip; readonly name: IfName }
  | { readonly kind: 'link-route'; readonly where: NetnsPath; readonly destination: Cidr; readonly name: IfName }
  | { readonly kind: 'forward-inside'; readonly where: NetnsPath; readonly ipv6: boolean; readonly on: boolean }
  | { readonly kind: 'heed-marks'; readonly where: NetnsPath; readonly name: IfName }
  /** The rule as text (observed.ts). */
  | { readonly kind: 'rule-add' | 'rule-delete'; readonly where: NetnsPath; readonly rule: string }
  | {
      readonly kind: 'table-route';
      readonly where: NetnsPath;
      readonly ipv6: boolean;
      readonly table: number;
      /** null: all is on the link itself. */
      readonly via: Ip | null;
      readonly name: IfName;
    }
  | { readonly kind: 'table-route-delete'; readonly where: NetnsPath; readonly ipv6: boolean; readonly table: number }
  | { readonly kind: 'entry'; readonly device: IfName; readonly write: Unindexed<EntryWrite> }
  | ({ readonly kind: 'table-replace' } & DesiredTable)
  | { readonly kind: 'table-delete'; readonly table: OurTable }
  /** All of them or none. */
  | { readonly kind: 'elements'; readonly table: OurTable; readonly changes: readonly SetChange[] };

/** Elements, as text, that come into a set of a table or leave it. */
export interface SetChange {
  readonly op: 'add' | 'delete';
  readonly set: string;
  readonly elements: readonly string[];
}

export interface DeviceChange {
  readonly mtu?: number;
  readonly mac?: Mac;
  readonly alias?: string;
  readonly master?: IfName;
  readonly port?: Partial<BridgePortAttributes>;
  readonly up?: true;
}

type Unindexed<T> = T extends unknown ? Omit<T, 'ifindex'> : never;
/** An entry write before the device's index is looked up. */
export type EntryAction = Unindexed<EntryWrite>;

const six = (ipv6: boolean): string => (ipv6 ? '-6 ' : '');
const onOff = (on: boolean): string => (on ? 'on' : 'off');
const namespaceName = (netns: string): string => netns.slice(netns.lastIndexOf('/') + 1);

/**
 * The step as `ip` commands in the step's namespace, without the word `ip`; null when it is no change of a link, address
 * or route. For people: apply/links.ts sends the same to rtnetlink.
 */
export function ipLines(step: Action): string[] | null {
  switch (step.kind) {
    case 'bridge-add': {
      const netns = step.where === null ? '' : ` netns ${step.where}`;
      const mtu = step.mtu === null ? '' : ` mtu ${step.mtu}`;
      return [`link add name ${step.name}${netns} address ${step.mac}${mtu} type bridge mcast_snooping 0`];
    }
    case 'vxlan-add':
      return [
        `link add name ${step.name} netns ${OVERLAY_NETNS} address ${step.mac} mtu ${step.mtu} type vxlan id ${step.vni} ` +
          `dstport ${step.port} local ${step.vtep} nolearning proxy`,
      ];
    case 'veth-add': {
      const netns = step.where === null ? '' : ` netns ${step.where}`;
      // mtu twice: `mtu` before `type veth` sets this end only, and a smaller MTU on one end alone loses bulk traffic.
      return [
        `link add name ${step.name}${netns} mtu ${step.mtu} type veth ` +
          `peer name ${step.peerName} netns ${step.peerNetns} address ${step.peerMac} mtu ${step.mtu}`,
      ];
    }
    case 'macvlan-add': {
      const mac = step.mac === null ? '' : ` address ${step.mac}`;
      const mtu = step.mtu === null ? '' : ` mtu ${step.mtu}`;
      return [
        `link add link ${step.parent} name ${step.name} netns ${step.netns}${mac}${mtu} type macvlan mode ${step.mode}`,
      ];
    }
    case 'parent-add':
      return step.vlan === null
        ? [`link add name ${step.name} type dummy`]
        : [`link add link ${step.vlan.parent} name ${step.name} type vlan id ${step.vlan.id}`];
    case 'device-move': {
      const { netns, name, alias } = step.to;
      return [
        `link set dev ${step.name} alias "${alias}"`,
        `link set dev ${step.name} netns ${netns ?? '1'} name ${name}`,
      ];
    }
    case 'device-delete':
      return [`link del dev ${step.name}`];
    case 'device-set':
      return deviceSetLines(step.name, step.set);
    case 'address-add':
      // Duplicate address detection would keep an IPv6 address unusable for a second; our addresses have one owner each.
      return [`address replace ${step.address} dev ${step.name}${step.address.includes(':') ? ' nodad' : ''}`];
    case 'address-delete':
      return [`address del ${step.address} dev ${step.name}`];
    case 'default-route':
      return [`route replace default via ${step.via} dev ${step.name}`];
    case 'link-route':
      return [`route replace ${step.destination} dev ${step.name}`];
    case 'loopback6':
      return [
        `-6 route replace local ::1 dev ${step.name} table local proto ${OUR_PROTOCOL} metric ${LOOPBACK6_METRIC}`,
      ];
    case 'rule-add':
    case 'rule-delete': {
      const { ipv6, mark, mask, table, priority, protocol } = ruleOf(step.rule);
      const op = step.kind === 'rule-add' ? 'add' : 'del';
      const which = mask === 0 ? '' : ` fwmark ${mark}/${mask}`;
      return [`${six(ipv6)}rule ${op} pref ${priority}${which} lookup ${table} protocol ${protocol}`];
    }
    case 'table-route':
      return [
        `${six(step.ipv6)}route replace default ${step.via === null ? '' : `via ${step.via} `}dev ${step.name} ` +
          `table ${step.table} proto ${OUR_PROTOCOL}`,
      ];
    case 'table-route-delete':
      return [`${six(step.ipv6)}route del default table ${step.table}`];
    default:
      return null;
  }
}

function deviceSetLines(name: IfName, set: DeviceChange): string[] {
  const lines: string[] = [];
  if (set.alias !== undefined) lines.push(`link set dev ${name} alias ${set.alias}`);
  if (set.mac !== undefined) lines.push(`link set dev ${name} address ${set.mac}`);
  if (set.mtu !== undefined) lines.push(`link set dev ${name} mtu ${set.mtu}`);
  if (set.master !== undefined) lines.push(`link set dev ${name} master ${set.master}`);
  if (set.port !== undefined) {
    const flags: string[] = [];
    if (set.port.learning !== undefined) flags.push(`learning ${onOff(set.port.learning)}`);
    if (set.port.flood !== undefined) flags.push(`flood ${onOff(set.port.flood)}`);
    if (set.port.isolated !== undefined) flags.push(`isolated ${onOff(set.port.isolated)}`);
    if (set.port.neighSuppress !== undefined) flags.push(`neigh_suppress ${onOff(set.port.neighSuppress)}`);
    if (set.port.broadcast !== undefined) flags.push(`bcast_flood ${onOff(set.port.broadcast)}`);
    if (set.port.multicast !== undefined) flags.push(`mcast_flood ${onOff(set.port.multicast)}`);
    if (set.port.hairpin !== undefined) flags.push(`hairpin ${onOff(set.port.hairpin)}`);
    lines.push(`link set dev ${name} type bridge_slave ${flags.join(' ')}`);
  }
  // Last, so that a port forwards nothing before its flags are set.
  if (set.up) lines.push(`link set dev ${name} up`);
  return lines;
}

/**
 * The namespace that the step is made from. New devices are always asked for from the host's: the VXLAN device's UDP
 * socket must be there.
 */
export function stepWhere(step: Action): Where {
  switch (step.kind) {
    case 'device-move':
    case 'device-delete':
    case 'device-set':
    case 'address-add':
    case 'address-delete':
    case 'default-route':
    case 'link-route':
    case 'leg-ipv6':
    case 'forward-inside':
    case 'heed-marks':
    case 'rule-add':
    case 'rule-delete':
    case 'table-route':
    case 'table-route-delete':
      return step.where;
    case 'table-replace':
    case 'table-delete':
    case 'elements':
      // Those of the host and of the overlays are one of a kind; those of sandboxes are made side by side.
      return step.table.where === OVERLAY_NETNS ? null : step.table.where;
    default:
      return null;
  }
}

const forwardingOf = (ipv6: boolean): string => (ipv6 ? 'net.ipv6.conf.all.forwarding' : 'net.ipv4.ip_forward');
const inside = (where: Where): string => (where === null ? '' : `nsenter --net=${where} `);

/** The step as commands that a person with a root shell could run. */
export function commands(step: Step): string[] {
  const lines = ipLines(step);
  if (lines) {
    const where = stepWhere(step);
    return lines.map((line) => `${inside(where)}ip ${line}`);
  }
  switch (step.kind) {
    case 'netns-add':
      return [`ip netns add ${namespaceName(step.netns)}`];
    case 'netns-delete':
      return [`ip netns del ${namespaceName(step.netns)}`];
    case 'quieten':
      // A kernel may lack some of them.
      return Object.entries(OVERLAY_SETTINGS).map(
        ([name, value]) => `nsenter --net=${OVERLAY_NETNS} sysctl -ew ${name}=${value}`,
      );
    case 'checksums-in-software':
      return [`${inside(OVERLAY_NETNS)}ethtool -K ${step.device} tx off`];
    case 'ipv6-on':
      return [`nsenter --net=${OVERLAY_NETNS} sysctl -w net.ipv6.conf.${step.device}.disable_ipv6=0`];
    case 'leg-ipv6':
      return legSettings(step.ipv6).map(
        ([name, value]) => `${inside(step.where)}sysctl -w net/ipv6/conf/${step.name}/${name}=${value}`,
      );
    case 'forwarding-on':
      return ['sysctl -w net.ipv4.ip_forward=1'];
    case 'forwarding6-on':
      return [
        ...step.deaf.map((name) => `sysctl -w net/ipv6/conf/${name}/accept_ra=2`),
        `sysctl -w ${forwardingOf(true)}=1`,
      ];
    case 'forwarding6-off':
      return [
        `sysctl -w ${forwardingOf(true)}=0`,
        ...step.heeding.map((name) => `sysctl -ew net/ipv6/conf/${name}/accept_ra=1`),
      ];
    case 'forward-inside':
      return [`${inside(step.where)}sysctl -w ${forwardingOf(step.ipv6)}=${Number(step.on)}`];
    case 'heed-marks':
      return [`${inside(step.where)}sysctl -w net/ipv4/conf/${step.name}/src_valid_mark=1`];
    case 'localnet-on':
      return [`sysctl -w net/ipv4/conf/${step.device}/route_localnet=1`];
    case 'entry':
      return [`nsenter --net=${OVERLAY_NETNS} ${entryCommand(step.device, step.write)}`];
    case 'table-replace':
      return [`${inside(step.table.where)}nft -f - <<'END'\n${step.script}END`];
    case 'table-delete':
      return [`${inside(step.table.where)}nft delete table ${tableName(step.table)}`];
    case 'elements': {
      const { table } = step;
      const lines = step.changes.map(({ op, set, elements }) => {
        const kind = table.sets[set] ?? 'ipv4';
        // Of a map, too, the key alone says what is to go.
        const shown = elements
          .map((text) => elementInScript(kind, text))
          .map((text) => (op === 'add' ? text : text.replace(/ : .*/, '')));
        return [`${op} element ${tableName(table)} ${set}`, `{ ${shown.join(', ')} }`] as const;
      });
      const [only] = lines;
      if (only && lines.length === 1) return [`${inside(table.where)}nft ${only[0]} '${only[1]}'`];
      return [`${inside(table.where)}nft -f - <<'END'\n${lines.map((line) => line.join(' ')).join('\n')}\nEND`];
    }
    default:
      return [];
  }
}

function entryCommand(device: IfName, write: EntryAction): string {
  switch (write.op) {
    case 'fdb-put':
      return `bridge fdb replace ${write.mac} dev ${device} dst ${write.vtep} self permanent`;
    case 'fdb-delete':
      return `bridge fdb del ${write.mac} dev ${device} self`;
    case 'static-put':
      return `bridge fdb replace ${write.mac} dev ${device} master static`;
    case 'static-delete':
      return `bridge fdb del ${write.mac} dev ${device} master`;
    case 'neighbour-put':
      return `ip neigh replace ${write.ip} lladdr ${write.mac} dev ${device} nud permanent protocol 201`;
    case 'neighbour-delete':
      return `ip neigh del ${write.ip} dev ${device}`;
  }
}
