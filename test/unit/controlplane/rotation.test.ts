import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newAuthority } from '../../../controlplane/identity/authority.ts';
import { TrustAnchor } from '../../../controlplane/identity/certificates.ts';
import type { Credentials } from '../../../controlplane/identity/credentials.ts';
import type { Issuer } from '../../../controlplane/keys/issuer.ts';
import { Renewal } from '../../../controlplane/keys/renewal.ts';
import type { Members } from '../../../controlplane/tables/members.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { identityOf, simulationClusterId } from '../../sim/identities.ts';
import { simulationStartMs, VirtualTime } from '../../sim/time.ts';
import { makeCluster, memoryStore, quietLog, virtualEnvironment, Writer } from './helpers.ts';

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
  const digest = await meshKeys.rotate(false);
  await time.run(100);
  await cluster.removeNode(other.key.nodeId, true);
  await time.run(100);
  await meshKeys.finish();
  assert.ok(meshKeys.state.done);
  await time.run(70_000);
  assert.notEqual(meshKeys.state.digest, digest);
  await cluster.stop();
});

test('a removal changes the mesh key also when the clock of the one that made it was a year ahead', async () => {
  const { cluster, time, transport, admit } = await started();
  const ahead = await identityOf(2, 'manager');
  admit(ahead);
  const maker = new Writer(ahead);
  const digest = 'a'.repeat(64);
  const stamp = [time.now() + 365 * 86_400_000, 0];
  const value = { stamp, generation: 1, removals: 0, done: true };
  const records = [maker.write(clusterTopic, '', 1), maker.write(clusterTopic, `mesh-key/${digest}`, value)];
  transport.gossip(clusterTopic, records, maker.nodeId);
  await time.run(70_000);
  const { meshKeys } = cluster.keys;
  assert.equal(meshKeys.state.digest, digest);
  await cluster.removeNode(other.key.nodeId, true);
  await time.run(5_000);
  assert.notEqual(meshKeys.state.digest, digest);
  assert.ok(!meshKeys.isWanted);
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

test('a clock that is set back a year does not keep a node that is shut out from asking at the join ports', async () => {
  const time = new VirtualTime();
  let wallMs = simulationStartMs;
  const known = new TrustAnchor(manager.trust.current.der).check(other.certificate, null);
  assert.ok(known.ok);
  let asked = 0;
  let askedAgain = (): void => {};
  const again = new Promise<void>((resolve) => {
    askedAgain = resolve;
  });
  const renewal = new Renewal({
    credentials: { identity: other } as Credentials,
    members: { get: () => known.member } as unknown as Members,
    issuer: { hasCurrent: false, authority: null } as unknown as Issuer,
    transport: { request: () => Promise.reject(new Error('nobody is connected')) },
    environment: { ...virtualEnvironment(time), now: () => wallMs },
    log: quietLog,
    managers: () => [],
    nodeCount: () => 2,
    wantedRole: () => null,
    askDoor: async () => {
      asked += 1;
      if (asked === 2) askedAgain();
      throw new Error('no answer');
    },
    aloneMs: () => time.now(),
  });
  await time.run(60_000);
  await assert.rejects(renewal.renewNow());
  assert.equal(asked, 1);
  wallMs -= 365 * 86_400_000;
  await time.run(60_000);
  renewal.wake();
  await time.run(1);
  await again;
  renewal.stop();
});
