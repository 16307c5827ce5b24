import assert from 'node:assert/strict';
import { test } from 'node:test';
import { filesAsked } from '../../../agent/daemon/sandboxes/files-asked.ts';

const ask = (request: object) => filesAsked({ Networks: [], ...request });

test('what a request does not say is left open', () => {
  assert.deepEqual(ask({}), { hostname: null, resolver: { servers: [], search: [], options: [] } });
});

test('what it says is kept in one form', () => {
  assert.deepEqual(
    ask({ Hostname: 'www.example', Dns: ['2001:DB8::1'], DnsSearch: ['example.'], DnsOptions: ['ndots:2'] }),
    { hostname: 'www.example', resolver: { servers: ['2001:db8::1'], search: ['example'], options: ['ndots:2'] } },
  );
  assert.deepEqual(ask({ DnsSearch: ['.'] }).resolver.search, ['.']);
});

test('each refusal has its code and what to do', () => {
  for (const [request, code, message] of [
    [{ Hostname: 'a b' }, 'invalid_hostname', /"a b" is not a host name/],
    [{ Dns: ['host1'] }, 'invalid_dns', /"host1" is not an IP address/],
    [{ DnsSearch: ['.', 'example'] }, 'invalid_dns_search', /means none/],
    [{ DnsOptions: ['a\nnameserver 192.0.2.66'] }, 'invalid_dns_option', /is not a resolver option/],
  ] as const) {
    assert.throws(() => ask(request), { status: 400, code, message, hint: /./ });
  }
});
