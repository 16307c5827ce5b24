import type { Desired, RemoteEndpoint } from '../../../dataplane/desired.ts';
import { bridgeName, overlayPortName, vxlanName } from '../../../dataplane/names.ts';
import { must, parseIfName } from '../../../dataplane/values.ts';
import { gatePort6 } from './mesh.ts';
import {
  BRIDGE,
  bridged,
  GATEWAY,
  gateOf,
  guard,
  overlay,
  remote,
  returning6,
  sandbox,
  wanted,
  withHostLeg,
  withIpv6,
} from './wanted.ts';

const VNIS = [4097, 4098, 4099, 4100];
/** Of each network; half of them are wanted at a time. */
const REMOTES = 1000;
/** Numbers below are those of the host's own endpoints. */
const FIRST = 16;
const BACKENDS = Array.from({ length: 12 }, (_, at) => FIRST + at);
const GATES = [9, 10, 11, 12];

/** The same number for the same arguments, 0 to 1, as random as this takes. */
function chance(...of: readonly number[]): number {
  let hash = 2166136261;
  for (const part of of) {
    hash = Math.imul(hash ^ part, 16777619);
    hash ^= hash >>> 15;
    hash = Math.imul(hash, 2246822519);
    hash ^= hash >>> 13;
  }
  return (hash >>> 0) / 2 ** 32;
}

/**
 * What is wanted in a round of a run: most of it is that of the round before, some comes, goes or moves, and now and then a
 * network and a sandbox do.
 */
export function roundState(seed: number, round: number): Desired {
  // Each thing changes its mind in its own round of five.
  const phase = (...of: readonly number[]): number => Math.floor((round + 5 * chance(seed, ...of)) / 5);
  const vnis = VNIS.filter((vni) => vni === VNIS[0] || chance(seed, vni, phase(vni)) < 0.8);
  const overlays = vnis.map((vni) => {
    const remotes: RemoteEndpoint[] = [];
    for (let n = FIRST; n < FIRST + REMOTES; n++) {
      const mind = chance(seed, vni, n, phase(vni, n));
      if (mind < 0.5) remotes.push(remote(vni, n, mind < 0.25 ? 'a' : 'b'));
    }
    return { ...overlay(vni, 'a', remotes), mtu: chance(seed, 1, phase(1)) < 0.5 ? 1450 : 1400 };
  });
  const some = (all: readonly number[], what: number): number[] =>
    all.filter((n) => chance(seed, what, n, phase(what, n)) < 0.7);
  const boxes = [1, 2, 3].filter((n) => n === 1 || chance(seed, 2, n, phase(2, n)) < 0.7);
  const sandboxes = boxes.map((n) => {
    const box = sandbox(`box${n}`, n, vnis, true);
    // A name for each network, so that a network that goes takes no other's along.
    const overlayLegs = box.overlayLegs.map((leg) => ({ ...leg, ifName: must(parseIfName(`net${leg.vni}`)) }));
    const bridgeLegs = box.bridgeLegs.map((leg) => ({ ...leg, ifName: must(parseIfName('way')) }));
    const bare = { ...box, overlayLegs, bridgeLegs };
    if (n === 1) return returning6(withIpv6(bare), some(GATES, 3));
    return n === 2 ? bridged(bare, n, [{ protocol: 'tcp', hostIp: null, hostPort: 8080, port: 80 }]) : bare;
  });
  const ports = [8080, 8081, 8082].map((port) => gatePort6('tcp', some(BACKENDS, port), { port }));
  const published = ports.map(({ protocol, port }) => ({ protocol, hostIp: null, hostPort: port, port }));
  const plain = gateOf(withIpv6(sandbox('gate', 9, [VNIS[0] ?? 0], true)), ports);
  // Now and then nobody needs IPv6 on the host.
  const gate = chance(seed, 4, phase(4)) < 0.8 ? withHostLeg(plain, 9, published) : plain;
  const bridges = boxes.includes(2) ? [GATEWAY, BRIDGE] : [GATEWAY];
  return wanted({ overlays, sandboxes: [...sandboxes, gate], bridges, guard: guard('a', VNIS) });
}

/** What must not go while this is wanted, as `ip monitor` names it: entries by MAC or IP, and devices. */
export function untouchable({ overlays, sandboxes }: Desired): Set<string> {
  const names = new Set<string>();
  for (const { vni, remotes } of overlays) {
    const device = vxlanName(vni);
    names.add(device).add(bridgeName(vni));
    for (const { ip, mac } of remotes) names.add(`${device} ${ip}`).add(`${device} ${mac}`);
  }
  for (const { overlayLegs } of sandboxes) for (const leg of overlayLegs) names.add(overlayPortName(leg.endpointId));
  return names;
}

/** Entries as `bridge fdb` and `ip neigh` show them: device, key, value. */
export function entriesOf({ overlays }: Desired): Set<string> {
  const entries = new Set<string>();
  for (const { vni, remotes } of overlays) {
    const device = vxlanName(vni);
    for (const { ip, mac, vtep } of remotes) entries.add(`${device} ${mac} ${vtep}`).add(`${device} ${ip} ${mac}`);
  }
  return entries;
}
