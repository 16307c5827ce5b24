import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOf, formatToken, newSecret, parseToken } from '../../../controlplane/identity/token.ts';

const caDigest = digestOf(Buffer.from('certificate'));
const text = formatToken({ caDigest, secret: newSecret() });

const reasonFor = (token: string): string => {
  const parsed = parseToken(token);
  return parsed.ok ? '' : parsed.reason;
};

test('a token survives being written and read, leading zeros too', () => {
  const zeros = { caDigest: Buffer.alloc(32), secret: Buffer.alloc(16) };
  const ones = { caDigest: Buffer.alloc(32, 0xff), secret: Buffer.alloc(16, 0xff) };
  const small = {
    caDigest: Buffer.from(`${'00'.repeat(31)}07`, 'hex'),
    secret: Buffer.from(`${'00'.repeat(15)}01`, 'hex'),
  };
  for (const token of [zeros, ones, small, { caDigest, secret: newSecret() }]) {
    const written = formatToken(token);
    assert.match(written, /^WFTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
    assert.deepEqual(parseToken(written), { ok: true, token });
    assert.deepEqual(parseToken(`  ${written}\n`), { ok: true, token });
  }
});

test('each way in which a token is wrong is said', () => {
  const [, , digest = '', secret = ''] = text.split('-');
  assert.match(reasonFor(''), /does not start with WFTKN-/);
  assert.match(reasonFor(text.replace('WFTKN', 'SWMTKN')), /does not start with WFTKN-/);
  assert.match(reasonFor(text.replace('-1-', '-2-')), /version "2" is not known/);
  assert.match(reasonFor('WFTKN'), /version/);
  for (let length = 'WFTKN-1-'.length; length < text.length; length += 1) {
    assert.match(reasonFor(text.slice(0, length)), /cut short/, text.slice(0, length));
  }
  for (const garbled of [
    `WFTKN-1-${digest}!-${secret}`,
    `WFTKN-1-${digest.slice(1)}A-${secret}`,
    `WFTKN-1-${digest}-${secret}x`,
    `WFTKN-1-${digest}-${secret}-more`,
    `WFTKN-1-${'z'.repeat(50)}-${secret}`,
    `WFTKN-1-${digest}-${'z'.repeat(25)}`,
  ]) {
    assert.match(reasonFor(garbled), /malformed/, garbled);
  }
});
