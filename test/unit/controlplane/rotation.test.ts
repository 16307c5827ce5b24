import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newAuthority } from '../../../controlplane/identity/authority.ts';
import { identityOf, simulationClusterId } from '../../sim/identities.ts';
import { simulationStartMs, VirtualTime } from '../../sim/time.ts';
import { makeCluster, memoryStore } from './helpers.ts';

const manager = await identityOf(0, 'manager');
const other = await identityOf(1, 'worker');

async function started() {
  const made = makeCluster(manager, memoryStore(), new VirtualTime());
  await made.cluster.start();
  return made;
}

test('a node that is removed while the mesh key changes has that key: another one is made', async () => {
  const { cluster, time } = await started();
  const { meshKeys } = cluster.keys;
  await meshKeys.rotate(false);
  await time.run(100);
  await cluster.removeNode(other.key.nodeId, true);
  await time.run(100);
  await meshKeys.finish();
  assert.ok(meshKeys.state.done);
  assert.notEqual(meshKeys.wantedMs, null);
  await cluster.stop();
});

test('the root can be changed more often than links are shown', async () => {
  const { cluster, time } = await started();
  const { roots } = cluster.keys;
  for (let i = 0; i < 10; i += 1) {
    const digest = await roots.rotate(false);
    assert.equal(roots.state.digest, digest, `rotation ${i}`);
    await cluster.keys.renewal.renewNow();
    await roots.finish();
    assert.ok(roots.state.done);
    await time.run(10);
  }
  await cluster.stop();
});

test('a renewal keeps the key of a root that is not announced yet', async () => {
  const { cluster } = await started();
  const next = await newAuthority(simulationClusterId, simulationStartMs);
  await cluster.credentials.change(({ authorities }) => ({ authorities: [...authorities, next] }));
  await cluster.keys.renewal.renewNow();
  assert.ok(cluster.identity.authorities.some(({ certificate }) => next.certificate === certificate));
  await cluster.stop();
});
