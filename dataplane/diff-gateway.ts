import type { DesiredGatewayBridge } from './desired.ts';
import type { Draft } from './diff.ts';
import { diffTable } from './diff-tables.ts';
import { OUR_ALIAS } from './names.ts';
import { GATEWAY_OBJECT } from './objects.ts';
import { rulesFor } from './rules.ts';
import { must, parseCidr, parseMac } from './values.ts';

/**
 * The same on every host and every time: a bridge that is made again must answer to what the containers have in their ARP
 * caches. No frame of it leaves the host, so no two can meet.
 */
const GATEWAY_MAC = must(parseMac('02:77:65:66:74:00'));

/** The gateway bridge, its address, the rules around it, and the host's forwarding. */
export function diffGateway(draft: Draft, wanted: DesiredGatewayBridge | null): void {
  if (wanted === null) return;
  const { name, address } = wanted;
  const { host } = draft.observed;
  const there = host.devices.get(name);
  if (there && there.kind !== 'bridge') {
    draft.conflict(
      GATEWAY_OBJECT,
      `${name} is a ${there.kind || 'physical'} device, not a bridge; rename or remove it`,
    );
    return;
  }
  const ours = !there || there.alias === OUR_ALIAS;
  if (!ours && !host.gatewayAddresses.has(address)) {
    const has = [...host.gatewayAddresses].join(', ') || 'no address';
    draft.conflict(GATEWAY_OBJECT, `${name} is not ours and has ${has}, not ${address}; use its address, or remove it`);
    return;
  }

  // Before the bridge is up: nothing may pass a bridge that is not guarded yet.
  const { on, byUs } = host.forwarding;
  const rules = rulesFor({ bridge: name, address, bridgeIsOurs: ours, guardForwarding: byUs || !on });
  diffTable(draft, 'namespaces', GATEWAY_OBJECT, rules);
  if (!on) draft.step('namespaces', GATEWAY_OBJECT, 'ip_forward is 0', { kind: 'forwarding-on' });

  if (!there) {
    draft.step('host', GATEWAY_OBJECT, 'missing', {
      kind: 'bridge-add',
      where: null,
      name,
      mtu: null,
      mac: GATEWAY_MAC,
    });
    draft.step('host', GATEWAY_OBJECT, 'missing', { kind: 'device-set', where: null, name, set: { alias: OUR_ALIAS } });
  }
  if (ours && !(there && host.gatewayAddresses.has(address))) {
    draft.step('host', GATEWAY_OBJECT, `address ${address} is missing`, {
      kind: 'address-add',
      where: null,
      name,
      address,
    });
  }
  if (ours && there && draft.options.prune) {
    for (const other of host.gatewayAddresses) {
      const parsed = must(parseCidr(other));
      if (parsed === address) continue;
      draft.step('host', GATEWAY_OBJECT, `address ${other} is extra`, {
        kind: 'address-delete',
        where: null,
        name,
        address: parsed,
      });
    }
  }
  if (!there?.up) {
    draft.step('host', GATEWAY_OBJECT, 'is down', { kind: 'device-set', where: null, name, set: { up: true } });
  }
}
