import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { isOf, maxServicePorts, type ServicePort, serviceKey } from '../../../controlplane/tables/services.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import { makeCluster, memoryStore, Writer } from './helpers.ts';

const spec = { internal: false, attachable: true, ingress: false, options: {}, labels: {} };
const [self, other, worker] = await Promise.all([
  identityOf(0, 'manager'),
  identityOf(1, 'manager'),
  identityOf(2, 'worker'),
]);

const port = (published: number, target: number, fields: Partial<ServicePort> = {}): ServicePort => ({
  ...{ protocol: 'tcp', published, target, count: 1, mode: 'ingress', ...fields },
});

/** A manager with networks `blue` and `red`. */
async function started() {
  const { cluster, transport, admit, time } = makeCluster(self, memoryStore());
  await cluster.start();
  const settings = { root: cluster.self, pools: ['10.0.0.0/21'], subnetBits: 24, dataPathPort: 4789 };
  await cluster.tables.put(clusterTopic, 'cluster', { ...settings, stamp: [...cluster.clock.next()] });
  await cluster.tables.put(clusterTopic, 'node', {
    ...{ hostname: 'alpha', vtep: '192.0.2.1', gossip: ['192.0.2.1:7946'], version: '0', createdMs: 1 },
    join: '192.0.2.1:2377',
  });
  const { networks, services, view } = cluster;
  const [blue, red] = [
    await networks.create({ ...spec, name: 'blue' }),
    await networks.create({ ...spec, name: 'red' }),
  ];
  return { cluster, transport, admit, time, networks, services, view, blue, red };
}

test('what is published is added to what a service has, and what is not said stays as it was', async () => {
  const { cluster, services, view, blue, time } = await started();
  const first = await services.publish({ network: blue, name: 'web', ports: [port(8080, 80)], affinityMs: 1_000 });
  assert.deepEqual([first.ports, first.source, first.affinityMs], [[port(8080, 80)], 'keep', 1_000]);
  await time.run(5);
  const ranges = [port(9000, 90, { protocol: 'udp', count: 10 }), port(8080, 80)];
  const preview = await services.previewPublish({ network: blue, name: 'web', ports: ranges, source: 'snat' });
  assert.deepEqual(view.services.get(first.key)?.ports, [port(8080, 80)], 'only a preview');
  const second = await services.publish({ network: blue, name: 'web', ports: ranges, source: 'snat' });
  assert.deepEqual({ ...preview, stamp: null }, { ...second, stamp: null });
  assert.deepEqual(second.ports, [port(8080, 80), port(9000, 90, { protocol: 'udp', count: 10 })]);
  assert.deepEqual([second.source, second.affinityMs, second.createdMs], ['snat', 1_000, first.createdMs]);
  assert.equal(view.services.get(serviceKey(blue.id, 'web')), second);
  await cluster.stop();
});

test('a part of a range is taken back; with the last port the service is gone, and comes again as a new one', async () => {
  const { cluster, services, view, blue, time } = await started();
  const made = await services.publish({ network: blue, name: 'web', ports: [port(8000, 80, { count: 11 })] });
  const gone = { protocol: 'tcp', published: 8004, count: 2 } as const;
  const left = await services.unpublish(blue, 'web', [gone]);
  assert.deepEqual(left?.ports, [port(8000, 80, { count: 4 }), port(8006, 86, { count: 5 })]);
  const ends = [
    { protocol: 'tcp', published: 7990, count: 13 } as const,
    { protocol: 'tcp', published: 8010, count: 1 } as const,
  ];
  const shown = services.previewUnpublish(blue, 'web', ends);
  assert.deepEqual(shown?.ports, [port(8003, 83), port(8006, 86, { count: 4 })]);
  await assert.rejects(services.unpublish(blue, 'web', [gone]), {
    code: 'port_not_published',
    message: /^port 8004-8005\/tcp is none of service web on network blue, which has 8000-8003\/tcp, 8006-8010\/tcp$/,
  });
  assert.equal(services.previewUnpublish(blue, 'web', null), null);
  assert.equal(view.services.size, 1);
  assert.equal(await services.unpublish(blue, 'web', null), null);
  assert.equal(view.services.size, 0);
  await assert.rejects(services.unpublish(blue, 'web', null), { code: 'service_not_found' });
  await time.run(5);
  const again = await services.publish({ network: blue, name: 'web', ports: [port(8080, 80)] });
  assert.ok(again.createdMs > made.createdMs);
  assert.deepEqual(again.ports, [port(8080, 80)]);
  await cluster.stop();
});

test('refused: ports of others, of the cluster, that are none, and what leads elsewhere already', async () => {
  const { cluster, services, networks, view, blue, red } = await started();
  await services.publish({ network: blue, name: 'web', ports: [port(8080, 80, { count: 10 })] });
  const publish = (ports: readonly ServicePort[], network = red, name = 'web') =>
    services.publish({ network, name, ports });
  await assert.rejects(publish([port(9000, 1), port(8089, 80)]), {
    code: 'port_published',
    message: 'port 8080-8089/tcp is published already, by service web on network blue',
    hint: 'publish another one, or take that back first: `weft unpublish --network blue web 8080-8089/tcp`',
  });
  await assert.rejects(publish([port(8089, 80, { mode: 'host' })]), { code: 'port_published' });
  for (const [taken, message] of [
    [port(7946, 80), 'gossip'],
    [port(7940, 80, { count: 10, protocol: 'udp' }), 'gossip'],
    [port(2377, 80), 'joins'],
    [port(4789, 80, { protocol: 'udp' }), 'VXLAN'],
  ] as const)
    await assert.rejects(publish([taken]), { code: 'port_reserved', message: new RegExp(`own, for ${message}$`) });
  for (const none of [port(0, 80), port(80, 0), port(65_535, 80, { count: 2 }), port(80, 65_535, { count: 2 })])
    await assert.rejects(publish([none]), { code: 'invalid_port' });
  await assert.rejects(publish([port(80, 80, { count: 1025 })]), { code: 'invalid_port' });
  await assert.rejects(publish([port(8080, 81)], blue), {
    code: 'port_published',
    message: 'port 8080-8089/tcp of service web leads to 80-89 already, and 8080/tcp would lead elsewhere',
  });
  await assert.rejects(publish([port(9000, 80), port(9000, 81)], blue), { code: 'port_published' });
  const many = Array.from({ length: maxServicePorts + 1 }, (_, at) => port(10_000 + at, 80));
  await assert.rejects(publish(many), { code: 'too_many_ports' });
  const internal = await networks.create({ ...spec, name: 'inner', internal: true });
  await assert.rejects(publish([port(9000, 80)], internal), { code: 'network_internal' });
  const ingress = await networks.create({ ...spec, name: 'ingress', ingress: true });
  await assert.rejects(publish([port(9000, 80)], ingress), { code: 'network_predefined' });
  // Nothing of what was refused was done, and the same number of another protocol is another port.
  assert.equal(view.services.size, 1);
  await publish([port(8080, 80, { protocol: 'udp' }), port(2377, 80, { protocol: 'sctp' })]);
  assert.equal(view.services.size, 2);
  await cluster.stop();
});

test('a port that both halves of a cluster published: the newer service has lost it, says so, and can be put right', async () => {
  const { cluster, services, view, transport, admit, blue, red } = await started();
  assert.equal(admit(other), null);
  await services.publish({ network: blue, name: 'web', ports: [port(8080, 80), port(8081, 81)] });
  const older = { ...{ stamp: [simulationStartMs, 0], removed: false, source: 'keep', affinityMs: 0, createdMs: 1 } };
  const writer = new Writer(other);
  const key = serviceKey(red.id, 'shop');
  transport.gossip(
    clusterTopic,
    [
      writer.write(clusterTopic, '', 1),
      writer.write(clusterTopic, `service/${key}`, { ...older, ports: [['tcp', 8080, 8080, 1, 'ingress']] }),
    ],
    writer.nodeId,
  );
  const own = () => view.services.get(serviceKey(blue.id, 'web'));
  assert.deepEqual(own()?.ports, [port(8081, 81)]);
  const [warning, ...more] = cluster.warnings();
  assert.match(
    warning ?? '',
    /^port 8080\/tcp of service web on network blue is that of service shop on network red, which is older; .*`weft unpublish --network blue web 8080\/tcp`, /,
  );
  assert.deepEqual(more, []);
  // What is lost stays in the record, until it is taken back or the other one is.
  const preview = await services.previewPublish({ network: blue, name: 'web', ports: [port(8082, 82)] });
  assert.deepEqual([preview.ports, preview.lost.length], [[port(8081, 81), port(8082, 82)], 1]);
  await assert.rejects(services.publish({ network: blue, name: 'web', ports: [port(8080, 80)] }), {
    code: 'port_published',
  });
  await services.publish({ network: blue, name: 'web', ports: [port(8082, 82)] });
  await services.unpublish(red, 'shop', null);
  assert.deepEqual(own()?.ports, [port(8080, 80), port(8081, 81), port(8082, 82)]);
  assert.deepEqual([own()?.lost, cluster.warnings()], [[], []]);
  await cluster.stop();
});

test('a removed network takes its services along, and their ports are free again', async () => {
  const { cluster, services, networks, view, blue, red } = await started();
  await services.publish({ network: blue, name: 'web', ports: [port(8080, 80)] });
  await networks.remove(blue);
  assert.equal(view.services.size, 0);
  await services.publish({ network: red, name: 'web', ports: [port(8080, 80)] });
  assert.equal(view.services.size, 1);
  await cluster.stop();
});

test('only managers publish', async () => {
  const { cluster } = makeCluster(worker, memoryStore());
  const network = { name: 'blue', id: 'n'.repeat(25), ingress: false, internal: false } as never;
  await assert.rejects(cluster.services.publish({ network, name: 'web', ports: [port(8080, 80)] }), {
    code: 'not_manager',
  });
  await assert.rejects(cluster.services.unpublish(network, 'web', null), { code: 'not_manager' });
});

test('endpoints of a service have its name or alias, on its network, in upper or lower case', () => {
  const service = { network: 'n'.repeat(25), name: 'Web' } as const;
  const endpoint = { networkId: 'n'.repeat(25), name: 'box', aliases: ['shop', 'WEB'] } as const;
  const is = (fields: object) => isOf(service as never, { ...endpoint, ...fields } as never);
  assert.ok(is({}));
  assert.ok(is({ name: 'web', aliases: [] }));
  assert.ok(!is({ aliases: ['website'] }));
  assert.ok(!is({ networkId: 'm'.repeat(25) }));
});

const dual = { ...spec, name: 'dual', subnet: '10.0.9.0/28', ipv6: { subnet: 'fd00:9::/64' } };

test("a virtual address is of each family of the network, stays with the service, and is nobody else's", async () => {
  const { cluster, networks, services, view, time } = await started();
  const on = await networks.create(dual);
  const preview = await services.previewPublish({ network: on, name: 'web', ports: [], mode: 'vip' });
  assert.deepEqual([view.services.size, preview.ports], [0, []]);
  const made = await services.publish({ network: on, name: 'web', ports: [], mode: 'vip' });
  const { vip } = made;
  assert.match(`${vip?.ip} ${vip?.ip6}`, /^10\.0\.9\.\d+ fd00:9::[0-9a-f]+$/);
  // Whatever else is said of the service, and again.
  for (const more of [
    { ports: [port(8080, 80)] },
    { ports: [], prefer: 'zone' },
    { ports: [], mode: 'vip' },
  ] as const) {
    await time.run(5);
    const next = await services.publish({ network: on, name: 'web', ...more });
    assert.deepEqual(next.vip, vip);
  }
  const now = view.services.get(made.key);
  assert.deepEqual([now?.prefer, now?.ports.length], ['zone', 1]);
  assert.equal(networks.capacity(on)[0]?.used, 1);
  for (const ip of [vip?.ip ?? '', vip?.ip6 ?? ''])
    await assert.rejects(networks.allocateAddress(on, ip, ip.includes(':') ? 6 : 4), {
      code: 'address_in_use',
      message: `${ip} on network dual (${ip.includes(':') ? 'fd00:9::/64' : '10.0.9.0/28'}): it is the virtual address of service web`,
    });
  const others: string[] = [];
  for (let at = 0; at < 12; at += 1) others.push((await networks.allocateAddress(on)).ip);
  assert.equal(new Set([...others, vip?.ip]).size, 13);
  await assert.rejects(networks.allocateAddress(on), { code: 'exhausted' });
  // Given back it rests, and is then as any other.
  const plain = await services.publish({ network: on, name: 'web', ports: [], mode: 'dnsrr' });
  assert.deepEqual([plain.vip, networks.capacity(on)[0]?.used], [undefined, 0]);
  await assert.rejects(networks.allocateAddress(on, vip?.ip ?? ''), { code: 'address_resting' });
  await time.run(31_000);
  assert.equal((await networks.allocateAddress(on)).ip, vip?.ip);
  await cluster.stop();
});

test('a service with neither a port nor a virtual address is none', async () => {
  const { cluster, networks, services, view, blue } = await started();
  const inner = await networks.create({ ...spec, name: 'inner', internal: true });
  await assert.rejects(services.publish({ network: blue, name: 'web', ports: [], prefer: 'local' }), {
    code: 'nothing_published',
    hint: /`weft publish --vip web`$/,
  });
  const { vip } = await services.publish({ network: inner, name: 'web', ports: [], mode: 'vip' });
  assert.ok(vip?.ip !== undefined && vip.ip6 === undefined);
  await assert.rejects(services.publish({ network: inner, name: 'web', ports: [port(80, 80)] }), {
    code: 'network_internal',
  });
  await assert.rejects(services.publish({ network: inner, name: 'web', ports: [], mode: 'dnsrr' }), {
    code: 'nothing_published',
    hint: 'take it back: `weft unpublish --network inner web`',
  });
  assert.equal(await services.unpublish(inner, 'web', null), null);
  assert.equal(view.services.size, 0);
  await assert.rejects(networks.allocateAddress(inner, vip.ip), { code: 'address_resting' });
  // With a port taken back the address stays, and goes with all of it.
  await services.publish({ network: blue, name: 'web', ports: [port(80, 80)], mode: 'vip' });
  const left = await services.unpublish(blue, 'web', [{ protocol: 'tcp', published: 80, count: 1 }]);
  assert.deepEqual([left?.ports, left?.vip === undefined], [[], false]);
  await assert.rejects(services.unpublish(blue, 'web', [{ protocol: 'tcp', published: 80, count: 1 }]), {
    message: /which has none$/,
  });
  assert.equal(await services.unpublish(blue, 'web', null), null);
  await services.publish({ network: blue, name: 'web', ports: [], mode: 'vip' });
  await networks.remove(blue);
  assert.equal(view.services.size, 0);
  await cluster.stop();
});

test('what is not said of preference and draining stays, and null takes it away', async () => {
  const { cluster, services, blue } = await started();
  const publish = (fields: object) =>
    services.publish({ network: blue, name: 'web', ports: [port(80, 80)], ...fields });
  const said = ({ prefer, drainMs }: Awaited<ReturnType<typeof publish>>) => [prefer, drainMs];
  assert.deepEqual(said(await publish({})), [undefined, undefined]);
  assert.deepEqual(said(await publish({ prefer: 'local', drainMs: 5_000 })), ['local', 5_000]);
  assert.deepEqual(said(await publish({})), ['local', 5_000]);
  assert.deepEqual(said(await publish({ prefer: null })), [undefined, 5_000]);
  assert.deepEqual(said(await publish({ drainMs: null })), [undefined, undefined]);
  await cluster.stop();
});

test("an address that another half of the cluster gave to an endpoint is the endpoint's, and the service gets another", async () => {
  const { cluster, transport, admit, services, networks, view, time, blue } = await started();
  assert.equal(admit(other), null);
  const made = await services.publish({ network: blue, name: 'web', ports: [], mode: 'vip' });
  const ip = made.vip?.ip ?? '';
  // Here the address was given back, and handed out again; there the service has it still, and something newer is said of it.
  await services.publish({ network: blue, name: 'web', ports: [port(80, 80)], mode: 'dnsrr' });
  await time.run(31_000);
  const topic = networkTopic(blue.id);
  await cluster.tables.put(topic, `ep/${'e'.repeat(64)}`, {
    ...{ name: 'box', sandbox: 'a'.repeat(64), ip, mac: '02:00:00:00:00:01', aliases: [], createdMs: 1 },
  });
  const writer = new Writer(other);
  const { key, network: _n, name: _name, lost: _lost, ...value } = { ...made, stamp: [time.now() + 1, 0] as const };
  transport.gossip(
    clusterTopic,
    [writer.write(clusterTopic, '', 1), writer.write(clusterTopic, `service/${key}`, value)],
    writer.nodeId,
  );
  const lost = view.services.get(key);
  assert.deepEqual([lost?.vip, lost?.lostVip], [undefined, { vip: made.vip, why: 'endpoint box has it' }]);
  assert.match(
    cluster.warnings().join(),
    /service web on network blue has lost its virtual address .*: endpoint box has it; /,
  );
  assert.equal(networks.capacity(blue)[0]?.used, 1);
  const next = await services.publish({ network: blue, name: 'web', ports: [], mode: 'vip' });
  assert.ok(next.vip?.ip !== undefined && next.vip.ip !== ip);
  assert.deepEqual(cluster.warnings(), []);
  await cluster.stop();
});

test('a service that lost its address has it again when the endpoint goes', async () => {
  const { cluster, services, view, blue, time } = await started();
  const topic = networkTopic(blue.id);
  const key = `ep/${'e'.repeat(64)}`;
  const made = await services.publish({ network: blue, name: 'web', ports: [], mode: 'vip' });
  let told = 0;
  view.watch(({ services: heard }) => {
    told += Number(heard);
  });
  await cluster.tables.put(topic, key, {
    ...{ name: 'box', sandbox: 'a'.repeat(64), ip: made.vip?.ip, mac: '02:00:00:00:00:01', aliases: [], createdMs: 1 },
  });
  assert.deepEqual([view.services.get(made.key)?.vip, told], [undefined, 1]);
  await time.run(5);
  await cluster.tables.remove(topic, key);
  assert.deepEqual([view.services.get(made.key)?.vip, told], [made.vip, 2]);
  await cluster.stop();
});
