import { closeSync, openSync } from 'node:fs';
import { OVERLAY_NETNS } from '../names.ts';
import { ruleOf } from '../observe/observed.ts';
import {
  encodeAddressChange,
  encodeBridgeAdd,
  encodeDefaultRoute,
  encodeLinkChange,
  encodeLinkDelete,
  encodeLinkMove,
  encodeLinkRoute,
  encodeMacvlanAdd,
  encodeParentAdd,
  encodePortChange,
  encodeVethAdd,
  encodeVxlanAdd,
  type LinkChange,
} from '../rtnetlink/changes.ts';
import { EADDRNOTAVAIL, EEXIST, ENODEV, ENOENT, ESRCH, SystemError } from '../rtnetlink/libc.ts';
import { encodeLoopback6, encodePolicyRule, encodeTableRoute, encodeTableRouteDelete } from '../rtnetlink/policy.ts';
import { NetlinkSocket } from '../rtnetlink/socket.ts';
import type { MessageWriter } from '../rtnetlink/wire.ts';
import type { DeviceChange, Step, Where } from '../steps.ts';
import { haveMarksHeeded, setLegIpv6, switchSandboxForwarding } from './sysctl.ts';
import { changeTable } from './tables.ts';

/** The host's namespace, by a name: that of this process. */
const OWN_NETNS = '/proc/self/ns/net';

/** Steps on links, addresses and routes in one namespace, through one rtnetlink socket in it. */
export class LinkChanger implements Disposable {
  readonly #socket: NetlinkSocket;
  readonly #indexes = new Map<string, number>();

  /** Throws SystemError, or ENOENT of node:fs, when the namespace cannot be entered. */
  constructor(where: Where) {
    this.#socket = NetlinkSocket.open(where);
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  /** Makes the step; that something to be deleted has gone already is success. Rejects with SystemError or an error of node:fs. */
  async run(step: Step): Promise<void> {
    switch (step.kind) {
      case 'bridge-add':
        return this.#inNetns(step.where, (netnsFd) =>
          this.#change(step.kind, (writer, seq) => encodeBridgeAdd(writer, seq, { ...step, netnsFd })),
        );
      case 'vxlan-add': {
        const { vni, vtep: local, port } = step;
        return this.#inNetns(OVERLAY_NETNS, (netnsFd) =>
          this.#change(step.kind, (writer, seq) =>
            encodeVxlanAdd(writer, seq, { ...step, netnsFd }, { vni, local, port }),
          ),
        );
      }
      case 'veth-add': {
        const { name, mtu, peerName, peerMac, peerNetns } = step;
        return this.#inNetns(step.where, (netnsFd) =>
          this.#inNetns(peerNetns, (peerNetnsFd) => {
            const outer = { name, mtu, mac: null, netnsFd };
            // The MTU twice: a smaller one on one end alone lets pings pass and loses bulk traffic.
            const inner = { name: peerName, mtu, mac: peerMac, netnsFd: peerNetnsFd };
            return this.#change(step.kind, (writer, seq) => encodeVethAdd(writer, seq, outer, inner));
          }),
        );
      }
      case 'macvlan-add': {
        const { name, mtu, mac, mode } = step;
        const parentIndex = this.#indexOf(step.parent);
        return this.#inNetns(step.netns, (netnsFd) =>
          this.#change(step.kind, (writer, seq) =>
            encodeMacvlanAdd(writer, seq, { name, mtu, mac, netnsFd }, { parentIndex, mode }),
          ),
        );
      }
      case 'parent-add': {
        const { name, vlan } = step;
        const device = { name, mtu: null, mac: null, netnsFd: null };
        const made = vlan === null ? null : { parentIndex: this.#indexOf(vlan.parent), id: vlan.id };
        return this.#change(step.kind, (writer, seq) => encodeParentAdd(writer, seq, device, made));
      }
      case 'device-move': {
        const { name, to } = step;
        const ifindex = this.#indexOf(name);
        this.#indexes.delete(name);
        return this.#inNetns(to.netns ?? OWN_NETNS, (netnsFd) =>
          this.#change(step.kind, (writer, seq) => encodeLinkMove(writer, seq, ifindex, { ...to, netnsFd })),
        );
      }
      case 'device-delete':
        this.#indexes.delete(step.name);
        return unless(ENODEV, () => this.#change(step.kind, (writer, seq) => encodeLinkDelete(writer, seq, step.name)));
      case 'device-set':
        return this.#set(step.name, step.set);
      case 'address-add':
        return this.#address('put', step.name, step.address);
      case 'address-delete':
        return unless(EADDRNOTAVAIL, () => this.#address('delete', step.name, step.address));
      case 'default-route': {
        const ifindex = this.#indexOf(step.name);
        return this.#change(step.kind, (writer, seq) => encodeDefaultRoute(writer, seq, ifindex, step.via));
      }
      case 'loopback6': {
        const ifindex = this.#indexOf(step.name);
        return this.#change(step.kind, (writer, seq) => encodeLoopback6(writer, seq, ifindex));
      }
      case 'leg-ipv6':
        return setLegIpv6(step.where, step.name, step.ipv6);
      case 'link-route': {
        const ifindex = this.#indexOf(step.name);
        return this.#change(step.kind, (writer, seq) => encodeLinkRoute(writer, seq, ifindex, step.destination));
      }
      case 'forward-inside':
        return switchSandboxForwarding(step.where, step.ipv6, step.on);
      case 'heed-marks':
        return haveMarksHeeded(step.where, step.name);
      case 'rule-add':
        // Somebody was faster: there is one like it.
        return unless(EEXIST, () => this.#rule('add', step.rule));
      case 'rule-delete':
        return unless(ENOENT, () => this.#rule('delete', step.rule));
      case 'table-route': {
        const ifindex = this.#indexOf(step.name);
        return this.#change(step.kind, (writer, seq) => encodeTableRoute(writer, seq, { ...step, ifindex }));
      }
      case 'table-route-delete':
        return unless(ESRCH, () => this.#change(step.kind, (writer, seq) => encodeTableRouteDelete(writer, seq, step)));
      case 'table-replace':
      case 'table-delete':
      case 'elements':
        return changeTable(step);
      default:
        throw new Error(`no way to run a step of kind ${step.kind}`);
    }
  }

  async #set(name: string, { alias, mac, mtu, master, port, up }: DeviceChange): Promise<void> {
    const ifindex = this.#indexOf(name);
    const change: LinkChange = {
      ...(alias === undefined ? {} : { alias }),
      ...(mac === undefined ? {} : { mac }),
      ...(mtu === undefined ? {} : { mtu }),
      ...(master === undefined ? {} : { masterIndex: this.#indexOf(master) }),
    };
    if (Object.keys(change).length > 0) {
      await this.#change('set', (writer, seq) => encodeLinkChange(writer, seq, ifindex, change));
    }
    if (port !== undefined) {
      await this.#change('set port', (writer, seq) => encodePortChange(writer, seq, ifindex, port));
    }
    // Last, so that a port forwards nothing before its flags are set.
    if (up) await this.#change('set up', (writer, seq) => encodeLinkChange(writer, seq, ifindex, { up }));
  }

  async #address(op: 'put' | 'delete', name: string, address: string): Promise<void> {
    const ifindex = this.#indexOf(name);
    await this.#change(op, (writer, seq) => encodeAddressChange(writer, seq, op, ifindex, address));
  }

  async #rule(op: 'add' | 'delete', text: string): Promise<void> {
    await this.#change(`${op} rule`, (writer, seq) => encodePolicyRule(writer, seq, op, ruleOf(text)));
  }

  #indexOf(name: string): number {
    const ifindex = this.#indexes.get(name) ?? this.#socket.link(name).ifindex;
    this.#indexes.set(name, ifindex);
    return ifindex;
  }

  #change(what: string, encode: (writer: MessageWriter, seq: number) => void): Promise<void> {
    return this.#socket.change(what, encode);
  }

  /** Holds the namespace open while `work` names it to the kernel; null is the socket's own. */
  async #inNetns(netns: Where | typeof OWN_NETNS, work: (fd: number | null) => Promise<void>): Promise<void> {
    if (netns === null) return work(null);
    const fd = openSync(netns, 'r');
    try {
      await work(fd);
    } finally {
      closeSync(fd);
    }
  }
}

async function unless(errno: number, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof SystemError) || error.errno !== errno) throw error;
  }
}
