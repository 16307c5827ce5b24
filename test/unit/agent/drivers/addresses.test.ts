import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { freeAddress, freeSubnet, isHost, localPools, shareAddress } from '../../../../agent/drivers/addresses.ts';

const small = { subnet: '172.30.0.0/29', gateway: '172.30.0.1', ipRange: null, aux: { router: '172.30.0.6' } };

test("Docker's local pools, the first of which nothing is in use", () => {
  assert.equal(freeSubnet([]), '172.17.0.0/16');
  assert.equal(freeSubnet(['0.0.0.0/0', '172.17.3.4/32', 'fd00::/8', '172.18.0.1/15']), '172.20.0.0/16');
  assert.equal(freeSubnet(['172.16.0.0/12']), '192.168.0.0/20');
  assert.equal(freeSubnet(['172.16.0.0/12', '192.168.1.9/16']), null);
});

test('prefixes with host bits share what their networks do', () => {
  assert.equal(shareAddress('10.0.0.7/24', '10.0.0.200/32'), true);
  assert.equal(shareAddress('10.0.0.7/24', '10.0.1.0/24'), false);
  assert.equal(shareAddress('10.0.0.0/8', '10.200.0.0/16'), true);
  const prefix = fc.tuple(fc.nat(0xffffffff), fc.integer({ min: 1, max: 32 })).map(([value, bits]) => {
    return `${[24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.')}/${bits}`;
  });
  fc.assert(fc.property(prefix, prefix, (a, b) => shareAddress(a, b) === shareAddress(b, a) && shareAddress(a, a)));
});

test('addresses in turn, never the gateway, an auxiliary one, or an end of the subnet', () => {
  const given: string[] = [];
  for (let ip: string | null = null; given.length < 20; ) {
    ip = freeAddress(small, new Set(given), ip);
    if (ip === null) break;
    given.push(ip);
  }
  assert.deepEqual(given, ['172.30.0.2', '172.30.0.3', '172.30.0.4', '172.30.0.5']);
  assert.equal(freeAddress(small, new Set(['172.30.0.4']), '172.30.0.3'), '172.30.0.5');
  assert.equal(freeAddress(small, new Set(), '172.30.0.5'), '172.30.0.2', 'and round again');
  assert.equal(freeAddress({ ...small, ipRange: '172.30.0.4/31' }, new Set(), null), '172.30.0.4');
  assert.equal(isHost(small, '172.30.0.7'), false);
  assert.equal(isHost(small, '10.0.0.1'), false);
});

test('the pools overlap nowhere', () => {
  for (const [i, pool] of localPools.entries())
    assert.ok(!localPools.slice(0, i).some((other) => shareAddress(pool, other)));
});
