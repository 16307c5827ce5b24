import assert from 'node:assert/strict';
import { test } from 'node:test';
import { poolNearlyFull } from '../../../controlplane/capacity.ts';
import { NumberSet } from '../../../controlplane/ring/numbers.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { makeCluster, memoryStore, quietLog } from './helpers.ts';

const spec = { internal: false, attachable: true, ingress: false, options: {}, labels: {} };

test('a pool that is nearly out of subnets is named, once in the log, until networks go', async (t) => {
  const warn = t.mock.method(quietLog, 'warn');
  const logged = () => warn.mock.calls.filter(({ arguments: [, message] }) => message.includes('pool')).length;
  const { cluster, time } = makeCluster(await identityOf(0, 'manager'), memoryStore());
  await cluster.start();
  const settings = { root: cluster.self, pools: ['10.0.0.0/21'], subnetBits: 24, dataPathPort: 4789 };
  await cluster.tables.put(clusterTopic, 'cluster', { ...settings, stamp: [...cluster.clock.next()] });
  for (let i = 0; i < 6; i += 1) await cluster.networks.create({ ...spec, name: `n${i}` });
  assert.deepEqual(cluster.warnings(), []);
  const last = await cluster.networks.create({ ...spec, name: 'n6' });
  assert.match(
    cluster.warnings().join(),
    /^the address pool 10\.0\.0\.0\/21 has 1 of 8 subnets left: remove networks, or/,
  );
  await cluster.networks.create({ ...spec, name: 'n7', subnet: '192.168.0.0/24' });
  assert.equal(logged(), 1);
  await cluster.networks.remove(last);
  assert.deepEqual(cluster.warnings(), []);
  await time.run(30_001);
  await cluster.networks.create({ ...spec, name: 'n8', subnet: '192.168.1.0/24' });
  await cluster.networks.create({ ...spec, name: 'n9' });
  assert.equal(logged(), 2, 'it was over in between');
  await cluster.stop();
});

test('so is a space of VNIs', () => {
  const taken = new NumberSet();
  const space = { window: { start: 0, end: 20 }, taken, name: 'the VNI space', reserved: () => null, nameOf: String };
  for (let number = 0; number < 16; number += 1) taken.add(number);
  assert.equal(poolNearlyFull('vni', space), null);
  taken.add(16);
  assert.equal(poolNearlyFull('vni', space), 'the VNI space has 3 of 20 VNIs left: remove networks');
});
