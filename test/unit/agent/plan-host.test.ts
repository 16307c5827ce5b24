import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hostBindingOf } from '../../../agent/daemon/sandboxes/local-legs.ts';
import { predefinedNetworks } from '../../../agent/drivers/index.ts';
import type { LocalNetwork } from '../../../agent/drivers/local-network.ts';
import { plan } from '../../../agent/plan.ts';
import { HostPlan } from '../../../agent/plan-host.ts';
import { hostNetns, type StoredLocalLeg, type StoredSandbox } from '../../../agent/sandbox-state.ts';
import type { EndpointId } from '../../../controlplane/ids.ts';

const hexId = (n: number): string => n.toString(16).padStart(2, '0').repeat(32);
const network = (n: number, driver: string, more: Partial<LocalNetwork> = {}): LocalNetwork => ({
  ...{ id: hexId(n), name: `net${n}`, driver, createdMs: n, internal: false, options: {}, labels: {} },
  ipam: { subnet: `172.${16 + n}.0.0/16`, gateway: `172.${16 + n}.0.1`, ipRange: null, aux: {} },
  ...more,
});
const lan = network(1, 'bridge');
const vault = network(2, 'bridge', { internal: true });
const wire = network(3, 'macvlan', { options: { parent: 'eth0.20', macvlan_mode: 'vepa' } });
const mesh = network(4, 'mesh');
const quiet = network(5, 'bridge', {
  options: {
    'com.docker.network.bridge.name': 'br7',
    'com.docker.network.bridge.enable_icc': 'false',
    'com.docker.network.bridge.enable_ip_masquerade': 'false',
    'com.docker.network.driver.mtu': '1400',
  },
});
const all = [...predefinedNetworks, lan, vault, wire, mesh, quiet];
const leg = (of: LocalNetwork, n: number): StoredLocalLeg => ({
  ...{ networkId: of.id, endpointId: hexId(100 + n) as EndpointId, aliases: [], createdMs: n },
  ...(of.ipam === null
    ? { ifName: null, mac: null, ip: null }
    : { ifName: `eth${n}`, mac: `02:00:00:00:01:0${n}`, ip: of.ipam.gateway.replace(/1$/, `${n + 2}`) }),
  device:
    of === mesh
      ? { source: `veth${n}`, mac: null, gateway: '172.20.0.1', onLink: ['10.1.0.0/16'], ownWay: false }
      : null,
});
const gateway = { endpointId: hexId(99) as EndpointId, ifName: 'eth9', mac: '02:00:00:00:00:09', ip: '172.31.0.9' };
const published = [{ protocol: 'tcp', hostIp: null, hostPort: 8080, port: 80 }] as const;
const sandbox = (on: readonly LocalNetwork[], more: Partial<StoredSandbox> = {}): StoredSandbox => ({
  ...{ id: hexId(9), name: 'web', createdMs: 1, netns: '/run/netns/weft-web', adopted: false, inode: null, labels: {} },
  ...{ hostname: null, resolver: { servers: [], search: [], options: [] }, legs: [], gateway: null },
  local: on.map((each, n) => leg(each, n)),
  published,
  ...more,
});
const host = new HostPlan({ gateway: '172.31.0.1/16', underlayMtu: 1500, localNetworks: all });

test('each network asks for what its driver makes, and docker_gwbridge comes first', () => {
  const { bridges, parents } = host.parts;
  assert.deepEqual(
    bridges.map(({ name, icc, masquerade, internal }) => [name, icc, masquerade, internal]),
    [
      ['docker_gwbridge', false, true, false],
      ['wn010101010101', true, true, false],
      ['wn020202020202', true, true, true],
      ['br7', false, false, false],
    ],
  );
  assert.deepEqual(parents, [{ kind: 'vlan', name: 'eth0.20', parent: 'eth0', id: 20 }]);
});

test('a leg is what its network says', () => {
  const { bridgeLegs, directLegs } = host.legsOf(sandbox([quiet, wire, mesh]));
  assert.deepEqual(
    bridgeLegs.map(({ bridge, mtu, addresses }) => [bridge, mtu, addresses]),
    [['br7', 1400, ['172.21.0.2/16']]],
  );
  assert.deepEqual(
    directLegs.map(({ source, mac, onLink }) => [source, mac, onLink]),
    [
      [{ kind: 'macvlan', parent: 'eth0.20', mode: 'vepa' }, '02:00:00:00:01:01', []],
      [{ kind: 'moved', name: 'veth2' }, null, ['10.1.0.0/16']],
    ],
  );
});

test('who is in the namespace of the host is in no plan, also when it is on no network any more', () => {
  const [shared, none] = predefinedNetworks;
  assert.ok(shared && none);
  const planned = (...sandboxes: StoredSandbox[]): number =>
    plan(null, { sandboxes, gateway: null, localNetworks: all, underlayMtu: 1500 }).desired.sandboxes.length;
  assert.equal(planned(sandbox([shared], { netns: hostNetns })), 0);
  assert.equal(planned(sandbox([], { netns: hostNetns })), 0);
  assert.equal(planned(sandbox([none])), 1);
  assert.deepEqual(host.legsOf(sandbox([none])), { bridgeLegs: [], directLegs: [] });
});

test('at most one leg carries the default route, and with it the ports: docker_gwbridge, else the first that leads out', () => {
  const on = fc.shuffledSubarray([lan, vault, wire, mesh, quiet]);
  fc.assert(
    fc.property(on, fc.boolean(), (networks, withGateway) => {
      const { bridgeLegs, directLegs } = host.legsOf(sandbox(networks, { gateway: withGateway ? gateway : null }));
      const carriers = [
        ...bridgeLegs.filter(({ isDefault }) => isDefault),
        ...directLegs.filter(({ defaultVia }) => defaultVia !== null),
      ].map(({ endpointId }) => endpointId);
      const first = networks.findIndex((each) => !each.internal);
      const wanted = withGateway ? gateway.endpointId : first === -1 ? null : hexId(100 + first);
      assert.deepEqual(carriers, wanted === null ? [] : [wanted]);
      for (const each of bridgeLegs) assert.deepEqual(each.published, each.isDefault ? published : []);
    }),
  );
});

test('what a plugin calls as the bridge driver calls its option is no address to publish at', () => {
  const options = { 'com.docker.network.bridge.host_binding_ipv4': '192.0.2.1' };
  const bound = (driver: string): string | null =>
    hostBindingOf([{ scope: 'local', network: network(7, driver, { options }) }]);
  assert.equal(bound('bridge'), '192.0.2.1');
  assert.equal(bound('mesh'), null);
});
