import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, test } from 'node:test';
import {
  type Authority,
  crossSign,
  issueCertificate,
  newAuthority,
  newCertificateRequest,
} from '../../../controlplane/identity/authority.ts';
import { type JoinListener, startJoinListener } from '../../../controlplane/identity/join-listener.ts';
import { newNodeKey } from '../../../controlplane/identity/keys.ts';
import { Trust } from '../../../controlplane/identity/trust.ts';
import { askAtDoors } from '../../../controlplane/keys/door.ts';
import { encodeRenewal, parseRenewal } from '../../../controlplane/keys/wire.ts';
import { identityOf } from '../../sim/identities.ts';
import { quietLog } from './helpers.ts';

const nowMs = Date.now();
const clusterId = 'c'.repeat(25);
const [old, next] = [await newAuthority(clusterId, nowMs), await newAuthority(clusterId, nowMs)];
const link = { root: next.certificate, cross: await crossSign(old, next) };
const manager = newNodeKey();
const member = newNodeKey();
const day = 86_400_000;
// A certificate of the old root, that ended yesterday.
const expired = await issueCertificate(old, clusterId, { ...member, role: 'worker' }, nowMs - 91 * day);
const identity = {
  ...(await identityOf(0, 'worker')),
  ...{ key: member, clusterId, certificate: expired, trust: Trust.of([{ root: old.certificate, cross: null }]) },
};
const request = await newCertificateRequest(member);
const listeners: JoinListener[] = [];
after(async () => {
  for (const each of listeners) await each.close();
});

async function listen(by: Authority, links = [link], role: 'worker' | 'manager' = 'manager') {
  const asked: { body: Buffer; from: string }[] = [];
  const listener = await startJoinListener({
    listen: { host: '127.0.0.1', port: 0 },
    certificate: await issueCertificate(by, clusterId, { ...manager, role }, nowMs),
    authority: by.certificate,
    pkcs8: manager.pkcs8,
    decide: async () => assert.fail('nobody joins here'),
    renew: async (body, from) => {
      asked.push({ body: Buffer.from(body), from });
      const certificate = await issueCertificate(by, clusterId, { ...member, role: 'worker' }, nowMs);
      return encodeRenewal({ certificate, links, authorities: [], meshKeys: [randomBytes(32)] });
    },
    monotonicMs: () => performance.now(),
    log: quietLog,
  });
  listeners.push(listener);
  return { at: { host: '127.0.0.1', port: listener.port }, asked };
}

const ask = (at: { host: string; port: number }, as = identity) =>
  askAtDoors({ managers: [at], identity: as, request, nowMs, signal: AbortSignal.timeout(10_000) });

test('a member whose certificate has ended, of a root that is gone, proves its key and gets another', async () => {
  const { at, asked } = await listen(next);
  const reply = parseRenewal(await ask(at));
  assert.ok(reply !== null);
  assert.deepEqual(asked, [{ body: Buffer.from(request), from: member.nodeId }]);
  assert.ok(identity.trust.follow(reply.links).check(reply.certificate, nowMs).ok);
});

test('an answer is believed only from a manager, of a root that the known one leads to', async () => {
  const foreign = await newAuthority(clusterId, nowMs);
  const cases = [
    [await listen(foreign), /not issued by this cluster/],
    [await listen(foreign, [{ root: foreign.certificate, cross: await crossSign(next, foreign) }]), /not issued/],
    [await listen(next, []), /not issued/],
    [await listen(next, [link], 'worker'), /no manager of this cluster/],
  ] as const;
  for (const [{ at }, why] of cases) await assert.rejects(ask(at), { message: why });
});

test('the next manager is asked when one does not answer', async () => {
  const { at } = await listen(next);
  const call = { identity, request, nowMs, signal: AbortSignal.timeout(10_000) };
  assert.ok(await askAtDoors({ ...call, managers: [{ host: '127.0.0.1', port: 1 }, at] }));
  await assert.rejects(askAtDoors({ ...call, managers: [] }), /no manager is known/);
});

test('renewals that succeed are no attempts: any number of members may ask from behind one address', async () => {
  const { at, asked } = await listen(next);
  for (let n = 0; n < 121; n += 1) await ask(at);
  assert.equal(asked.length, 121);
});
