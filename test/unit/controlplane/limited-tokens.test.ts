import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sealingKey } from '../../../controlplane/identity/join-tokens.ts';
import { newNodeKey } from '../../../controlplane/identity/keys.ts';
import { LimitedTokens } from '../../../controlplane/identity/limited-tokens.ts';
import { newSecret, parseToken } from '../../../controlplane/identity/token.ts';
import { seal } from '../../../controlplane/identity/vault.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { makeCluster, memoryStore, quietLog, virtualEnvironment, Writer } from './helpers.ts';
import { at } from './nodes.ts';

const self = await identityOf(0, 'manager');
const other = await identityOf(1, 'manager');
const hour = 3_600_000;
const day = 24 * hour;

async function setUp() {
  const made = makeCluster(self, memoryStore());
  await made.cluster.start();
  const { tables, view, clock } = made.cluster;
  let laterMs = 0;
  const environment = { ...virtualEnvironment(made.time), now: () => made.time.now() + laterMs };
  const root = () => self.trust.current.der;
  const authorities = () => self.authorities;
  const tokens = new LimitedTokens({ tables, view, clock, environment, log: quietLog, authorities, root });
  tokens.start();
  /** As if so much time had passed: what a whole cluster does meanwhile takes long to run. */
  const pass = async (ms: number): Promise<void> => {
    laterMs += ms;
    await made.time.run(2 * hour);
  };
  return { ...made, tokens, pass };
}

function secretOf(token: string): Uint8Array {
  const parsed = parseToken(token);
  assert.ok(parsed.ok);
  return parsed.token.secret;
}

test('a token is good until it expires, and says so afterwards', async () => {
  const { tokens, time, cluster } = await setUp();
  const { id, token } = await tokens.create('manager', time.now() + hour, null);
  const secret = secretOf(token);
  assert.deepEqual(
    [tokens.find(secret)?.id, tokens.find(secret)?.role, tokens.find(secret)?.state],
    [id, 'manager', 'good'],
  );
  assert.equal(tokens.find(newSecret()), null);
  assert.equal(tokens.find(Buffer.alloc(0)), null);
  await time.run(hour);
  assert.equal(tokens.find(secret)?.state, 'expired');
  assert.equal(await tokens.use(id, newNodeKey().nodeId), false);
  await cluster.stop();
});

test('as many nodes as it is for can use it, also at the same moment', async () => {
  const { tokens, cluster } = await setUp();
  const { id, token } = await tokens.create('worker', null, 2);
  const nodes = [1, 2, 3].map(() => newNodeKey().nodeId);
  assert.deepEqual(await Promise.all(nodes.map((node) => tokens.use(id, node))), [true, true, false]);
  assert.equal(tokens.find(secretOf(token))?.state, 'used up');
  assert.equal(tokens.list()[0]?.uses, 2);
  await cluster.stop();
});

test('revoked it is good for nothing; its secret never stands in the tables as it is', async () => {
  const { tokens, cluster } = await setUp();
  const { id, token } = await tokens.create('worker', null, null);
  const secret = Buffer.from(secretOf(token));
  const payload = cluster.tables.own(clusterTopic, `join-token/${id}`)?.payload ?? Buffer.alloc(0);
  assert.ok(payload.length > 0 && !Buffer.from(payload).includes(secret));
  assert.equal(await tokens.revoke(id), true);
  assert.equal(await tokens.revoke('0000000000'), false);
  assert.equal(tokens.find(secret)?.state, 'revoked');
  await cluster.stop();
});

test('their number is bounded, and those that ended long ago make room', async () => {
  const { tokens, time, cluster, pass } = await setUp();
  const made: string[] = [];
  for (let n = 0; n < 64; n += 1) made.push((await tokens.create('worker', time.now() + hour, 1)).id);
  await tokens.use(made[0] ?? '', newNodeKey().nodeId);
  await assert.rejects(tokens.create('worker', null, null), { code: 'too_many_tokens' });
  await pass(26 * hour);
  assert.equal(tokens.list().length, 0);
  await tokens.create('worker', null, null);
  assert.equal(tokens.list().length, 1);
  assert.deepEqual([...cluster.tables.records(clusterTopic, 'join-')].length, 1);
  await cluster.stop();
});

for (const lastsMs of [null, 5 * day]) {
  const how = lastsMs === null ? 'without an end' : 'that expires later';
  test(`a token ${how} stays revoked, although its maker never heard of that`, async () => {
    const { tokens, time, cluster, transport, admit, pass } = await setUp();
    admit(other);
    const maker = new Writer(other);
    const secret = newSecret();
    const token = {
      ...{ stamp: [time.now(), 0], revoked: false, role: 'worker', createdMs: time.now(), maxUses: null },
      sealed: Buffer.from(seal(sealingKey(at(self.authorities, 0)), secret)),
      expiresMs: lastsMs === null ? null : time.now() + lastsMs,
    };
    const records = [maker.write(clusterTopic, '', 1), maker.write(clusterTopic, 'join-token/0123456789', token)];
    transport.gossip(clusterTopic, records, maker.nodeId);
    assert.equal(tokens.find(secret)?.state, 'good');
    assert.ok(await tokens.revoke('0123456789'));
    await pass(2 * day);
    await tokens.create('worker', null, null);
    assert.equal(tokens.find(secret)?.state, 'revoked');
    // It is shown for a day, and whoever revokes it once more does not bring it back.
    assert.ok(await tokens.revoke('0123456789'));
    assert.equal(tokens.list().length, 1);
    await pass(5 * day);
    assert.notEqual(tokens.find(secret)?.state, 'good');
    assert.equal(cluster.tables.own(clusterTopic, 'join-token/0123456789') === null, lastsMs !== null);
    await cluster.stop();
  });
}
