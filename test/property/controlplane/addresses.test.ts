import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import ipaddr from 'ipaddr.js';
import {
  addressAt,
  contains,
  formatSubnet,
  ipv4ToNumber,
  isIpv4,
  numberToIpv4,
  offsetIn,
  parseSpace,
  parseSubnet,
  type Subnet,
  SubnetPool,
} from '../../../controlplane/addresses.ts';
import { formatHostPort, parseHostPort } from '../../../controlplane/mesh/address.ts';

const address = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const subnet: fc.Arbitrary<Subnet> = fc.tuple(address, fc.integer({ min: 0, max: 32 })).map(([any, prefixLength]) => {
  const size = 2 ** (32 - prefixLength);
  return { base: any - (any % size), prefixLength, size };
});

test('addresses and subnets survive being written and read', () => {
  fc.assert(
    fc.property(address, subnet, (number, prefix) => {
      assert.equal(ipv4ToNumber(numberToIpv4(number)), number);
      assert.deepEqual(parseSubnet(formatSubnet(prefix)), prefix);
    }),
  );
});

test('an IPv4 address has one spelling', () => {
  const part = fc.oneof(fc.nat({ max: 300 }).map(String), fc.stringMatching(/^[0-9.]{0,3}$/));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.array(part, { minLength: 3, maxLength: 5 }).map((parts) => parts.join('.')),
        fc.string(),
      ),
      (text) => {
        assert.equal(isIpv4(text), parseSubnet(`${text}/32`) !== null, text);
      },
    ),
    { numRuns: 5_000 },
  );
  for (const text of ['1.2.3.4.', '1.2.3', '1.2.3.04', '1.2.3.4\n', '256.0.0.1'])
    assert.equal(isIpv4(text), false, text);
  assert.ok(isIpv4('0.0.0.0') && isIpv4('255.255.255.255'));
});

test('an IPv6 address has one spelling, and its place in a subnet', () => {
  const bytes = fc.uint8Array({ minLength: 16, maxLength: 16 });
  fc.assert(
    fc.property(bytes, fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.boolean(), (all, offset, sparse) => {
      // Runs of zeros are what spellings differ in.
      const base = all.map((byte, at) => (at >= 8 || (sparse && byte % 3 > 0) ? 0 : byte));
      const space = parseSpace(`${new ipaddr.IPv6([...base]).toRFC5952String()}/64`);
      assert.ok(space);
      assert.equal(space.base, BigInt(`0x${Buffer.from(base).toString('hex')}`));
      const address = addressAt(space, offset);
      assert.equal(offsetIn(space, address), offset);
      const upper = address.toUpperCase();
      assert.equal(offsetIn(space, upper), upper === address ? offset : null);
      assert.equal(offsetIn(space, new ipaddr.IPv6([...base]).toNormalizedString()), null);
    }),
  );
});

test('text that is no subnet is null, never an exception', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9./]{0,20}$/)), (text) => {
      const parsed = parseSubnet(text);
      if (parsed !== null) assert.equal(formatSubnet(parsed), text);
    }),
    { numRuns: 2_000 },
  );
  for (const text of ['10.0.0.1/24', '10.0.0.0/33', '010.0.0.0/8', '256.0.0.0/8', '10.0.0/8', '10.0.0.0']) {
    assert.equal(parseSubnet(text), null, text);
  }
});

const blocks = fc
  .uniqueArray(fc.integer({ min: 0, max: 15 }), { minLength: 1, maxLength: 4 })
  .chain((numbers) =>
    fc.tuple(...numbers.map((n) => fc.integer({ min: 20, max: 28 }).map((bits) => `10.${n}.0.0/${bits}`))),
  );

test('the subnets of a pool are disjoint, inside its blocks, and as many as it says', () => {
  fc.assert(
    fc.property(blocks, fc.integer({ min: 22, max: 29 }), (texts, bits) => {
      const pool = new SubnetPool(texts, bits);
      const all = [...Array(pool.size).keys()].map((index) => pool.at(index));
      assert.equal(new Set(all.map(({ base }) => base)).size, pool.size);
      for (const each of all) {
        assert.equal(each.prefixLength, bits);
        assert.equal(each.base % each.size, 0);
        assert.ok(texts.some((text) => contains(parseSubnet(text) ?? each, each.base)));
      }
      assert.throws(() => pool.at(pool.size), RangeError);
    }),
    { numRuns: 60 },
  );
});

test('overlapping names exactly the subnets that share an address', () => {
  const other = fc
    .tuple(fc.integer({ min: 0, max: 15 }), address, fc.integer({ min: 8, max: 32 }))
    .map(([n, low, bits]) => {
      const any = ipv4ToNumber(`10.${n}.0.0`) + (low % 65_536);
      const size = 2 ** (32 - bits);
      return { base: any - (any % size), prefixLength: bits, size };
    });
  fc.assert(
    fc.property(blocks, fc.integer({ min: 24, max: 29 }), other, (texts, bits, prefix) => {
      const pool = new SubnetPool(texts, bits);
      const wanted = [...Array(pool.size).keys()].filter((index) => {
        const each = pool.at(index);
        return each.base < prefix.base + prefix.size && prefix.base < each.base + each.size;
      });
      assert.deepEqual([...pool.overlapping(prefix)], wanted);
    }),
    { numRuns: 100 },
  );
});

const host = fc.oneof(
  address.map(numberToIpv4),
  fc.stringMatching(/^[a-z][a-z0-9.-]{0,20}$/),
  fc.constantFrom('fd00::1', '::1', 'fe80::1:2:3'),
);

test('hosts and ports survive being written and read', () => {
  fc.assert(
    fc.property(host, fc.integer({ min: 1, max: 65_535 }), (name, port) => {
      assert.deepEqual(parseHostPort(formatHostPort({ host: name, port })), { host: name, port });
      const bare = parseHostPort(name, 2377);
      assert.deepEqual(bare, { host: name, port: 2377 });
    }),
  );
});

test('text that is no host and port is null, never an exception', () => {
  fc.assert(
    fc.property(fc.string(), fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined }), (text, port) => {
      const parsed = parseHostPort(text, port);
      if (parsed !== null) assert.ok(parsed.port >= 1 && parsed.port <= 65_535 && parsed.host !== '');
    }),
    { numRuns: 2_000 },
  );
  for (const text of ['', ':1', 'host', 'host:0', 'host:65536', '[::1]', '[::1]:x', '::1', 'a b:1', 'host:1:2']) {
    assert.equal(parseHostPort(text), null, text);
  }
});
