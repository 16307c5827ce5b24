import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import {
  must,
  parseCidr,
  parseIfName,
  parseIp,
  parseMac,
  parseNetnsPath,
  parseVni,
  prefixOf,
} from '../../../dataplane/values.ts';

const parsers = { parseCidr, parseIfName, parseIp, parseMac, parseNetnsPath };

test('good text becomes canonical', () => {
  assert.deepEqual(parseIp('10.0.1.2'), { ok: true, value: '10.0.1.2' });
  assert.deepEqual(parseIp('FD00:0:0::1'), { ok: true, value: 'fd00::1' });
  assert.deepEqual(parseCidr('10.0.1.2/24'), { ok: true, value: '10.0.1.2/24' });
  assert.deepEqual(parseMac('02:42:0A:00:01:02'), { ok: true, value: '02:42:0a:00:01:02' });
  assert.deepEqual(parseVni(4097), { ok: true, value: 4097 });
  assert.deepEqual(parseNetnsPath('/proc/12/ns/net'), { ok: true, value: '/proc/12/ns/net' });
});

test('bad input is a value with a reason', () => {
  for (const ip of ['', '10.0.1', '10.0.1.256', '0x0a.0.0.1', 'fe80::1%eth0', '10.0.0.1\n', ' 10.0.0.1']) {
    assert.equal(parseIp(ip).ok, false, ip);
  }
  for (const cidr of ['10.0.0.1', '10.0.0.1/33', '10.0.0.1/024', '::1/129', '/8'])
    assert.equal(parseCidr(cidr).ok, false, cidr);
  for (const mac of ['01:00:5e:00:00:01', '00:00:00:00:00:00', '02:42:0a:00:01', 'ff:ff:ff:ff:ff:ff']) {
    assert.equal(parseMac(mac).ok, false, mac);
  }
  for (const name of ['', '-x', '.', 'a/b', 'a b', 'abcdefghijklmnop', 'eth0\n'])
    assert.equal(parseIfName(name).ok, false, name);
  for (const path of ['net', '/a/../b', '/run/netns/a b', '/run//x', '/', '/run/netns/x\n']) {
    assert.equal(parseNetnsPath(path).ok, false, path);
  }
  for (const vni of [0, -1, 1.5, 0x1000000, Number.NaN]) assert.equal(parseVni(vni).ok, false, String(vni));
});

test('nothing that passes a parser can break out of a line, or be an option', () => {
  const hostile = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.stringMatching(/^[-0-9a-f:./\n ]{0,24}$/),
    fc.ipV4().map((ip) => `${ip}\nlink del eth0`),
  );
  fc.assert(
    fc.property(hostile, fc.constantFrom(...Object.values(parsers)), (text, parse) => {
      const parsed = parse(text);
      if (parsed.ok) assert.match(parsed.value, /^[A-Za-z0-9_/:][A-Za-z0-9_/:.-]*$/);
    }),
  );
});

test('parsing what was parsed changes nothing', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
      const once = parseIp(text);
      if (once.ok) assert.deepEqual(parseIp(once.value), once);
    }),
  );
});

test('the prefix that the kernel routes for an address', () => {
  for (const [address, prefix] of [
    ['10.0.1.2/24', '10.0.1.0/24'],
    ['172.18.255.254/16', '172.18.0.0/16'],
    ['192.0.2.77/27', '192.0.2.64/27'],
    ['255.255.255.255/1', '128.0.0.0/1'],
    ['10.0.1.2/32', '10.0.1.2/32'],
    ['10.0.1.2/0', '0.0.0.0/0'],
    ['fd00::1:2/112', 'fd00::1:0/112'],
  ] as const)
    assert.equal(prefixOf(must(parseCidr(address))), prefix);
});

test('IPv6 has one spelling, that of RFC 5952', () => {
  const texts = fc.oneof(
    fc.ipV6().filter((text) => !text.includes('.')),
    fc
      .array(fc.constantFrom('0', '1', 'FF', 'abcd', ':', '::', '0001'), { maxLength: 14 })
      .map((parts) => parts.join('')),
  );
  fc.assert(
    fc.property(texts, (text) => {
      const parsed = parseIp(text);
      const valid = ipaddr.IPv6.isValid(text);
      assert.equal(parsed.ok, valid, text);
      if (parsed.ok) assert.equal(parsed.value, ipaddr.IPv6.parse(text).toRFC5952String());
    }),
    { numRuns: 5000 },
  );
});
