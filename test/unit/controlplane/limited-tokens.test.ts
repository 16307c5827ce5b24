import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newNodeKey } from '../../../controlplane/identity/keys.ts';
import { LimitedTokens } from '../../../controlplane/identity/limited-tokens.ts';
import { newSecret, parseToken } from '../../../controlplane/identity/token.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { makeCluster, memoryStore } from './helpers.ts';

const self = await identityOf(0, 'manager');
const hour = 3_600_000;

async function setUp() {
  const made = makeCluster(self, memoryStore());
  await made.cluster.start();
  const { tables, view, clock } = made.cluster;
  const now = () => made.time.now();
  const root = () => self.trust.current.der;
  const tokens = new LimitedTokens({ tables, view, clock, now, authorities: () => self.authorities, root });
  return { ...made, tokens };
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
  const { tokens, time, cluster } = await setUp();
  const made: string[] = [];
  for (let n = 0; n < 64; n += 1) made.push((await tokens.create('worker', time.now() + hour, 1)).id);
  await tokens.use(made[0] ?? '', newNodeKey().nodeId);
  await assert.rejects(tokens.create('worker', null, null), { code: 'too_many_tokens' });
  await time.run(26 * hour);
  await tokens.create('worker', null, null);
  assert.equal(tokens.list().length, 1);
  assert.equal(cluster.view.shared('join-use').size, 0);
  await cluster.stop();
});
