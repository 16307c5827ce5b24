import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askAgainMs } from '../../../controlplane/labelled-ports.ts';
import { writeGrant } from '../../../controlplane/ring/write.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { type AskedPorts, serviceKey } from '../../../controlplane/tables/services.ts';
import { identityOf } from '../../sim/identities.ts';
import { makeCluster, memoryStore, Writer } from './helpers.ts';

const self = await identityOf(0, 'manager');
const spec = { internal: false, attachable: true, ingress: false, options: {}, labels: {} };
const web: AskedPorts = { service: 'web', ports: [['tcp', 8080, 80, 1]] };

async function started(store = memoryStore()) {
  const made = makeCluster(self, store);
  const { cluster, time } = made;
  await cluster.start();
  const settings = { root: cluster.self, pools: ['10.0.0.0/21'], subnetBits: 24, dataPathPort: 4789 };
  await cluster.tables.put(clusterTopic, 'cluster', { ...settings, stamp: [...cluster.clock.next()] });
  await cluster.tables.put(clusterTopic, 'node', {
    ...{ hostname: 'alpha', vtep: '192.0.2.1', gossip: ['192.0.2.1:7946'], version: '0', createdMs: 1 },
  });
  const blue = await cluster.networks.create({ ...spec, name: 'blue' });
  const topic = networkTopic(blue.id);
  const gateway = blue.subnets[0]?.gateway ?? '';
  /** An endpoint of this node; `number` below 10. */
  const put = async (number: number, asks: AskedPorts | null, name = 'web') => {
    const id = String(number).repeat(64);
    const value = {
      name,
      sandbox: id,
      ip: gateway.replace(/\d+$/, String(number + 1)),
      mac: `02:00:00:00:00:0${number}`,
    };
    const record = { ...value, aliases: [], createdMs: 1, ...(asks === null ? {} : { asks }) };
    await cluster.tables.put(topic, `ep/${id}`, record);
    await time.run(10);
  };
  const remove = async (number: number) => {
    await cluster.tables.remove(topic, `ep/${String(number).repeat(64)}`);
    await time.run(10);
  };
  const ports = (name = 'web') =>
    cluster.view.services
      .get(serviceKey(blue.id, name))
      ?.ports.map(({ published, target, count, label }) => [published, target, count, label ?? false]);
  return { ...made, blue, put, remove, ports };
}

test('what an endpoint asks for is published, and taken back a minute after the last one that asked', async () => {
  const { cluster, time, put, remove, ports } = await started();
  await put(1, web);
  await put(2, web);
  assert.deepEqual(ports(), [[8080, 80, 1, true]]);
  await remove(1);
  await time.run(2 * askAgainMs);
  assert.deepEqual(ports(), [[8080, 80, 1, true]], 'another one asks');
  await remove(2);
  await time.run(askAgainMs / 2);
  await put(3, web);
  await time.run(2 * askAgainMs);
  assert.deepEqual(ports(), [[8080, 80, 1, true]], 'it was started again');
  await remove(3);
  await time.run(askAgainMs - 1_000);
  assert.deepEqual(ports(), [[8080, 80, 1, true]]);
  await time.run(2_000);
  assert.equal(ports(), undefined);
  await cluster.stop();
});

test('what a command publishes is never taken back, also where an endpoint asked for it', async () => {
  const { cluster, time, blue, put, remove, ports } = await started();
  const { services } = cluster;
  const port = (published: number, target: number) =>
    ({ protocol: 'tcp', published, target, count: 1, mode: 'ingress' }) as const;
  await put(1, { service: 'web', ports: [['tcp', 8000, 80, 3]] });
  await services.publish({ network: blue, name: 'web', ports: [port(8001, 81), port(9000, 90)] });
  await time.run(2 * askAgainMs);
  const byLabel = [
    [8000, 80, 1, true],
    [8002, 82, 1, true],
  ];
  const byCommand = [
    [8001, 81, 1, false],
    [9000, 90, 1, false],
  ];
  assert.deepEqual(ports(), [...byLabel, ...byCommand]);
  await assert.rejects(services.unpublish(blue, 'web', [port(8002, 82)]), { code: 'port_labelled' });
  await services.unpublish(blue, 'web', null);
  await time.run(10);
  assert.deepEqual(ports(), [...byLabel, [8001, 81, 1, true]], 'the endpoint asks for it still');
  await assert.rejects(services.unpublish(blue, 'web', null), { code: 'port_labelled' });
  await services.publish({ network: blue, name: 'web', ports: [port(8001, 81)] });
  await remove(1);
  await time.run(2 * askAgainMs);
  assert.deepEqual(ports(), [[8001, 81, 1, false]]);
  await cluster.stop();
});

test('a container that is made anew with another label does not wait; one that asks for what another has is named', async () => {
  const { cluster, time, put, remove, ports } = await started();
  await put(1, web);
  await remove(1);
  await put(2, { service: 'web', ports: [['tcp', 8080, 81, 1]] });
  assert.deepEqual(ports(), [[8080, 81, 1, true]]);
  await put(3, { service: 'shop', ports: [...web.ports, ['tcp', 8443, 443, 1]] }, 'shop');
  assert.deepEqual(ports('shop'), [[8443, 443, 1, true]]);
  const [warning, ...more] = cluster.warnings();
  assert.match(
    warning ?? '',
    /^shop asks by its label for port 8080\/tcp of the cluster: .* by service web on network blue$/,
  );
  assert.deepEqual(more, []);
  await remove(2);
  assert.equal(ports(), undefined, 'it makes way at once');
  await time.run(2 * askAgainMs);
  assert.deepEqual(ports('shop')?.sort(), [
    [8080, 80, 1, true],
    [8443, 443, 1, true],
  ]);
  assert.deepEqual(cluster.warnings(), []);
  await cluster.stop();
});

test('a worker is heard while a manager allows it, and what it asked for goes a minute after that', async () => {
  const { cluster, transport, admit, time, blue, ports } = await started();
  const worker = await identityOf(2, 'worker');
  assert.equal(admit(worker), null);
  const writer = new Writer(worker);
  const node = writer.nodeId;
  const [subnet] = blue.subnets;
  assert.ok(subnet !== undefined);
  await writeGrant(cluster.tables, subnet.ring, { start: 50, end: 60, generation: 1 }, node);
  const topic = networkTopic(blue.id);
  const id = 'f'.repeat(64);
  const endpoint = {
    ...{ name: 'web', sandbox: id, ip: subnet.gateway.replace(/\d+$/, '50'), mac: '02:00:00:00:00:50' },
    ...{ aliases: [], createdMs: 1, asks: web },
  };
  transport.gossip(topic, [writer.write(topic, '', 1), writer.write(topic, `ep/${id}`, endpoint)], node);
  await time.run(10);
  assert.equal(cluster.view.endpointsOf(blue.id).size, 1);
  assert.equal(ports(), undefined);
  const { nodeLabels } = cluster;
  await nodeLabels.update(node, { add: { 'weft.publish': 'perhaps' }, remove: [] });
  await time.run(10);
  assert.equal(ports(), undefined);
  await nodeLabels.update(node, { add: { 'weft.publish': 'allow' }, remove: [] });
  await time.run(10);
  assert.deepEqual(ports(), [[8080, 80, 1, true]]);
  await time.run(2 * askAgainMs);
  assert.deepEqual(ports(), [[8080, 80, 1, true]]);
  await nodeLabels.update(node, { add: {}, remove: ['weft.publish'] });
  await time.run(askAgainMs / 2);
  assert.deepEqual(ports(), [[8080, 80, 1, true]]);
  await time.run(askAgainMs);
  assert.equal(ports(), undefined);
  await cluster.stop();
});
