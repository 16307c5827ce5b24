import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  complaint,
  emptyResolver,
  firstOf,
  hostResolver,
  parseHostname,
  parseOptions,
  parseResolvConf,
  parseSearch,
  parseServers,
  type Resolver,
  renderResolvConf,
} from '../../../../agent/files/resolv-conf.ts';

const label = fc.stringMatching(/^[A-Za-z0-9_]([A-Za-z0-9_-]{0,10}[A-Za-z0-9_])?$/);
const domain = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join('.'));
const server = fc
  .oneof(
    fc.tuple(fc.integer({ min: 1, max: 126 }), fc.nat(255), fc.nat(255), fc.nat(255)).map((bytes) => bytes.join('.')),
    fc.integer({ min: 1, max: 0xffff }).map((number) => `2001:db8::${number.toString(16)}`),
  )
  .filter((text) => parseServers([text]).ok);
const option = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}(:[0-9]{1,3})?$/);
const resolver: fc.Arbitrary<Resolver> = fc.record(
  {
    servers: fc.uniqueArray(server, { maxLength: 3 }),
    search: fc.uniqueArray(domain, { maxLength: 6 }),
    options: fc.uniqueArray(option, { maxLength: 6 }),
  },
  { noNullPrototype: true },
);

test('property: what is written is read again as it was', () => {
  fc.assert(
    fc.property(resolver, (given) => {
      const { servers, search, options } = given;
      const known = [parseServers(servers), parseSearch(search), parseOptions(options)];
      assert.ok(known.every(({ ok }) => ok));
      assert.deepEqual(parseResolvConf(renderResolvConf(given)), { resolver: given, unusable: [] });
    }),
  );
});

test('property: of any text only what a user might give too is taken, and it is as small', () => {
  const word = fc.oneof(fc.string(), server, domain, option, fc.constantFrom('127.0.0.53', 'fe80::1%eth0', '.', '\0'));
  const keyword = fc.constantFrom('nameserver', 'search', 'domain', 'options', ' nameserver', '#', ';', 'sortlist');
  const line = fc.tuple(keyword, fc.array(word, { maxLength: 40 })).map(([key, words]) => [key, ...words].join(' '));
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(line).map((lines) => lines.join('\n')),
      ),
      (text) => {
        const found = parseResolvConf(text);
        const { servers, search, options } = found.resolver;
        assert.ok(parseServers(servers).ok && parseSearch(search).ok && parseOptions(options).ok);
        assert.ok(servers.length + found.unusable.length <= 3);
        assert.doesNotMatch(renderResolvConf(found.resolver), /[^\x20-\x7e\n]/);
      },
    ),
  );
});

test('the file is read as resolv.conf(5) says', () => {
  const text = [
    '# nameserver 192.0.2.9',
    '; nameserver 192.0.2.9',
    ' nameserver 192.0.2.9',
    'nameserver\t192.0.2.1 trailing words',
    'nameserver not-an-address',
    'nameserver 2001:DB8:0::1\r',
    'search a.example b.example',
    'domain c.example d.example',
    'options ndots:2',
    'options rotate bad=option ndots:3',
    'nameserver 192.0.2.3',
    'nameserver 192.0.2.4',
    'sortlist 192.0.2.0',
  ].join('\n');
  assert.deepEqual(parseResolvConf(text), {
    resolver: {
      servers: ['192.0.2.1', '2001:db8::1', '192.0.2.3'],
      search: ['c.example'],
      options: ['ndots:2', 'rotate', 'ndots:3'],
    },
    unusable: [],
  });
  assert.deepEqual(parseResolvConf('search a.example\nsearch .\n').resolver.search, []);
});

test('servers that mean the host itself are of no use in a sandbox', () => {
  const own = ['127.0.0.53', '127.1.2.3', '0.0.0.0', '::1', '::', '::ffff:127.0.0.1', 'fe80::1', 'fe80::1%eth0'];
  for (const address of own) {
    const { resolver: found, unusable } = parseResolvConf(`nameserver ${address}\n`);
    assert.deepEqual([found.servers.length, unusable.length], [0, 1], address);
  }
  // A cloud's resolver, which the host routes to.
  assert.deepEqual(parseResolvConf('nameserver 169.254.169.253').resolver.servers, ['169.254.169.253']);
});

test("behind a stub of systemd-resolved are its upstreams; where that says nothing, the host's own file counts", () => {
  const stub = 'nameserver 127.0.0.53\noptions edns0\n';
  const upstream = 'nameserver 192.0.2.1\nsearch corp.example\n';
  const asked = { servers: ['192.0.2.1'], search: ['corp.example'], options: [] };
  assert.deepEqual(hostResolver(stub, upstream), { resolver: asked, unusable: [] });
  assert.deepEqual(hostResolver('', upstream), { resolver: asked, unusable: [] });
  assert.deepEqual(hostResolver('nameserver 192.0.2.2', upstream).resolver.servers, ['192.0.2.2']);
  for (const nothing of [null, '', 'nameserver ::1']) {
    assert.deepEqual(hostResolver(stub, nothing), {
      resolver: { servers: [], search: [], options: ['edns0'] },
      unusable: ['127.0.0.53'],
    });
  }
});

test('the operator is told of servers that sandboxes do not get, unless others are configured', () => {
  const configured = { ...emptyResolver, servers: ['192.0.2.1'] };
  const stub = hostResolver('nameserver 127.0.0.53', null);
  assert.match(complaint(stub, emptyResolver) ?? '', /names 127\.0\.0\.53, which a sandbox cannot reach, and names no/);
  const both = hostResolver('nameserver 127.0.0.1\nnameserver 192.0.2.1', null);
  assert.match(complaint(both, emptyResolver) ?? '', /names 127\.0\.0\.1, which a sandbox cannot reach: set dns/);
  assert.match(complaint(hostResolver('', null), emptyResolver) ?? '', /names no nameserver/);
  assert.equal(complaint(hostResolver('nameserver 192.0.2.1', null), emptyResolver), null);
  for (const host of [stub, both, hostResolver('', null)]) assert.equal(complaint(host, configured), null);
});

test('a sandbox, the configuration and the host say each list in this order; a search of . is none', () => {
  const host = { servers: ['192.0.2.1'], search: ['host.example'], options: ['rotate'] };
  const configured = { servers: [], search: ['corp.example'], options: [] };
  assert.deepEqual(firstOf(emptyResolver, configured, host), { ...host, search: ['corp.example'] });
  const merged = firstOf({ ...emptyResolver, search: ['.'] }, configured, host);
  assert.equal(renderResolvConf(merged), 'nameserver 192.0.2.1\noptions rotate\n');
  assert.equal(renderResolvConf(emptyResolver), '');
});

test('what users give is taken in one form, or refused with what is wrong', () => {
  assert.deepEqual(parseServers(['2001:DB8:0::1', '192.0.2.1', '192.0.2.1']), {
    ok: true,
    value: ['2001:db8::1', '192.0.2.1'],
  });
  assert.deepEqual(parseSearch(['corp.example.', '_tcp.example']), {
    ok: true,
    value: ['corp.example', '_tcp.example'],
  });
  assert.deepEqual(parseSearch(['.']), { ok: true, value: ['.'] });
  const reason = (parsed: { ok: boolean; reason?: string }): string => {
    assert.equal(parsed.ok, false);
    return parsed.reason ?? '';
  };
  const injected = 'x\nnameserver 192.0.2.66';
  for (const text of ['', 'host', '192.0.2.1\n', 'fe80::1%eth0', '192.0.2.1 192.0.2.2', injected]) {
    assert.match(reason(parseServers([text])), /is not an IP address/);
  }
  assert.match(reason(parseServers(['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'])), /4 are given.*at most 3/);
  for (const text of ['', '..', 'a..b', '-a', 'a b', injected, 'x'.repeat(64), `${'x'.repeat(63)}.`.repeat(4)]) {
    assert.match(reason(parseSearch([text])), /is not a domain/);
  }
  assert.match(reason(parseSearch(['.', 'corp.example'])), /means none, and others are given too/);
  assert.match(reason(parseSearch(Array.from({ length: 33 }, (_, i) => `d${i}`))), /at most 32 search domains/);
  for (const text of ['', 'a b', 'NDOTS', 'ndots:', 'ndots:-1', 'ndots:1:2', injected, 'x'.repeat(40)]) {
    assert.match(reason(parseOptions([text])), /is not a resolver option/);
  }
  assert.match(reason(parseOptions(Array.from({ length: 17 }, (_, i) => `o${i}`))), /at most 16 resolver options/);
  for (const text of ['', '.', 'a_b', '-a', 'a-', 'web.', injected, 'x'.repeat(64), `${'x.'.repeat(32)}x`]) {
    assert.match(reason(parseHostname(text)), /is not a host name/);
  }
  for (const text of ['web', 'WEB-1.corp.example', '1'])
    assert.deepEqual(parseHostname(text), { ok: true, value: text });
});
