import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster } from '../../../controlplane/cluster.ts';
import { type Authority, newAuthority } from '../../../controlplane/identity/authority.ts';
import { JoinTokens } from '../../../controlplane/identity/join-tokens.ts';
import { digestOf, parseToken } from '../../../controlplane/identity/token.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import { makeCluster, memoryStore } from './helpers.ts';

const authority = await newAuthority('c'.repeat(25), simulationStartMs);

function tokensOf({ tables, view, clock }: Cluster, holder: Authority): JoinTokens {
  return new JoinTokens({ tables, view, clock, authorities: () => [holder], root: () => holder.certificate });
}

async function make(holder = authority) {
  const { cluster } = makeCluster(await identityOf(0, 'manager'), memoryStore());
  await cluster.start();
  const tokens = tokensOf(cluster, holder);
  return { cluster, tokens };
}

function secretOf(token: string | null): Uint8Array {
  const parsed = parseToken(token ?? '');
  assert.ok(parsed.ok);
  return parsed.token.secret;
}

test('each role has a token of its own, which pins the CA', async () => {
  const { tokens } = await make();
  assert.equal(tokens.token('worker'), null);
  await tokens.rotate('worker');
  await tokens.rotate('manager');
  for (const role of ['worker', 'manager'] as const) {
    const parsed = parseToken(tokens.token(role) ?? '');
    assert.ok(parsed.ok);
    assert.deepEqual(parsed.token.caDigest, digestOf(authority.certificate));
    assert.deepEqual(tokens.check(parsed.token.secret), { role });
  }
  assert.notDeepEqual(secretOf(tokens.token('worker')), secretOf(tokens.token('manager')));
});

test('a rotated token is told from one that never was', async () => {
  const { tokens } = await make();
  await tokens.rotate('worker');
  const old = secretOf(tokens.token('worker'));
  for (let i = 0; i < 16; i += 1) await tokens.rotate('worker');
  assert.deepEqual(tokens.check(old), { role: null, reason: 'rotated' });
  await tokens.rotate('worker');
  // Only the last sixteen are remembered.
  assert.deepEqual(tokens.check(old), { role: null, reason: 'unknown' });
  assert.deepEqual(tokens.check(Buffer.alloc(16)), { role: null, reason: 'unknown' });
  assert.deepEqual(tokens.check(Buffer.alloc(3)), { role: null, reason: 'unknown' });
});

test('the tables hold no secret in clear, and who lacks the key of the CA cannot read it', async () => {
  const { cluster, tokens } = await make();
  await tokens.rotate('worker');
  const secret = Buffer.from(secretOf(tokens.token('worker')));
  const sealed = cluster.view.token('worker')?.sealed;
  assert.ok(sealed !== undefined && !Buffer.from(sealed).includes(secret));
  const other = await newAuthority('c'.repeat(25), simulationStartMs);
  const stranger = tokensOf(cluster, other);
  assert.equal(stranger.token('worker'), null);
  assert.deepEqual(stranger.check(secret), { role: null, reason: 'unknown' });
});
