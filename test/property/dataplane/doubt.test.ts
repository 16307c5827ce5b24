import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { diff } from '../../../dataplane/diff/diff.ts';
import { contradiction, type KernelEvent, keyOf } from '../../../dataplane/drift/doubt.ts';
import { OVERLAY_NETNS } from '../../../dataplane/names.ts';
import { emptyObserved, type Observed, type ObservedDevice } from '../../../dataplane/observe/observed.ts';
import type { Where } from '../../../dataplane/steps.ts';
import { desiredState, disturb, disturbances, options, reach } from './kernel.ts';

/** All that a kernel could say of what is in it, by the key of each object. */
function eventsOf({ host, weft, sandboxes, tables }: Observed): Map<string, KernelEvent> {
  const events: KernelEvent[] = [
    { kind: 'forwarding', where: null, ipv6: false, on: host.forwarding.on },
    { kind: 'forwarding', where: null, ipv6: true, on: host.forwarding6.on },
  ];
  const inTables = (where: Where, all: Observed['tables']): void => {
    for (const [table, { digest, elements }] of all) {
      events.push({ kind: 'table', where, table, digest });
      for (const [set, keys] of elements)
        for (const key of keys) events.push({ kind: 'element', where, table, set, key, gone: false });
    }
  };
  inTables(null, tables);
  const device = (where: Where, name: string, each: ObservedDevice): void => {
    events.push({ kind: 'device', where, name, device: each });
    if (each.port) events.push({ kind: 'port', where, name, port: each.port });
  };
  for (const [name, each] of host.devices) device(null, name, each);
  for (const [name, addresses] of host.addresses)
    for (const address of addresses) events.push({ kind: 'address', where: null, device: name, address, gone: false });
  for (const [name, each] of weft.devices) device(OVERLAY_NETNS, name, each);
  for (const [name, { fdb, neighbours }] of weft.tunnels) {
    for (const [mac, vtep] of fdb) events.push({ kind: 'fdb', device: name, mac, vtep });
    for (const [ip, entry] of neighbours) events.push({ kind: 'neighbour', device: name, ip, entry });
  }
  for (const [name, macs] of weft.statics)
    for (const mac of macs) events.push({ kind: 'static', device: name, mac, gone: false });
  for (const [netns, box] of sandboxes) {
    const { devices, tables: inside, rules, tableRoutes } = box;
    const where = netns as Where;
    inTables(where, inside);
    events.push({ kind: 'forwarding', where, ipv6: false, on: box.forwards });
    events.push({ kind: 'forwarding', where, ipv6: true, on: box.forwards6 });
    for (const rule of rules) events.push({ kind: 'rule', where, rule, gone: false });
    for (const [table, to] of tableRoutes) events.push({ kind: 'table-route', where, table, to, gone: false });
    for (const [name, each] of devices) {
      device(where, name, each);
      for (const address of each.addresses) events.push({ kind: 'address', where, device: name, address, gone: false });
      for (const destination of each.onLink)
        events.push({
          ...{ kind: 'route', where, ipv6: destination.includes(':'), destination, metric: 0, via: null },
          ...{ device: name, gone: false },
        });
    }
    for (const ipv6 of [false, true]) {
      const route = ipv6 ? box.defaultRoute6 : box.defaultRoute;
      if (route) events.push({ kind: 'route', where, ipv6, destination: null, metric: 0, ...route, gone: false });
    }
  }
  return new Map(events.map((event) => [keyOf(event), event]));
}

/** What the kernel says when the object of an event has gone. */
function gone(event: KernelEvent): KernelEvent | null {
  switch (event.kind) {
    case 'device':
      return { ...event, device: null };
    case 'table':
      return { ...event, digest: null };
    case 'fdb':
      return { ...event, vtep: null };
    case 'neighbour':
      return { ...event, entry: null };
    case 'static':
    case 'address':
    case 'route':
    case 'element':
    case 'rule':
    case 'table-route':
      return { ...event, gone: true };
    default:
      return null;
  }
}

/** The events by which a kernel tells that it went from one state to another. */
function told(before: Observed, after: Observed): KernelEvent[] {
  const [old, now] = [eventsOf(before), eventsOf(after)];
  const left = [...old].filter(([key]) => !now.has(key)).map(([, event]) => gone(event));
  return [...left.filter((event) => event !== null), ...now.values()];
}

test('what is known, told again, is no reason to list: our own changes are not', () => {
  fc.assert(
    fc.property(desiredState, desiredState, (before, after) => {
      const known = emptyObserved();
      reach(known, before);
      const kernel = structuredClone(known);
      reach(known, after);
      // All at once, as after a pass that has made them.
      for (const event of told(kernel, known)) assert.equal(contradiction(known, event), null, JSON.stringify(event));
    }),
    { numRuns: 500 },
  );
});

test('whatever someone else changes that asks for a step is told by an event that contradicts', () => {
  fc.assert(
    fc.property(desiredState, disturbances, (desired, changes) => {
      const known = emptyObserved();
      reach(known, desired);
      const kernel = structuredClone(known);
      for (const [what, pick] of changes) disturb[what]?.(kernel, pick);
      const { steps } = diff(desired, kernel, options);
      const heard = told(known, kernel).some((event) => contradiction(known, event) !== null);
      assert.ok(steps.length === 0 || heard, steps.map(({ object, why }) => `${object}: ${why}`).join('\n'));
    }),
    { numRuns: 1000 },
  );
});

test('an event on what nobody knows of is judged without a fault', () => {
  const known = emptyObserved();
  reach(known, fc.sample(desiredState, { numRuns: 1, seed: 7 })[0] ?? assert.fail());
  for (const event of told(emptyObserved(), known)) contradiction(emptyObserved(), event);
});
