import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askersOf, upstreamsOf } from '../../../agent/daemon/name-service.ts';
import { aliasesOf } from '../../../agent/daemon/sandboxes/announcements.ts';
import { emptyResolver, hostResolver } from '../../../agent/files/resolv-conf.ts';
import type { NetworkId } from '../../../controlplane/ids.ts';

test('whom to ask: the configuration before the host, the host itself too, nobody without a zone', () => {
  const asked = (etc: string, upstream: string | null = null, servers: string[] = []) =>
    upstreamsOf(hostResolver(etc, upstream), { ...emptyResolver, servers });
  assert.deepEqual(asked('nameserver 192.0.2.1\nnameserver 2001:db8::1\n'), ['192.0.2.1', '2001:db8::1']);
  assert.deepEqual(asked('nameserver 192.0.2.1\n', null, ['192.0.2.9']), ['192.0.2.9']);
  assert.deepEqual(asked('nameserver 127.0.0.53\n', 'nameserver 192.0.2.5\n'), ['192.0.2.5']);
  assert.deepEqual(asked('nameserver 127.0.0.1\nnameserver fe80::1%eth0\nnameserver 192.0.2.1\n'), [
    '192.0.2.1',
    '127.0.0.1',
  ]);
  assert.deepEqual(asked(''), []);
});

test('askers are those with an address on docker_gwbridge', () => {
  const networkId = 'n'.repeat(25) as NetworkId;
  const [on, off] = [
    { gateway: { ip: '172.18.0.2' }, legs: [{ networkId }] },
    { gateway: null, legs: [{ networkId }] },
  ];
  assert.deepEqual(askersOf([on, off]), [{ address: '172.18.0.2', networks: [networkId] }]);
});

test('an endpoint is called by its aliases, and by the host name where there is room', () => {
  const called = (hostname: string | null, ...aliases: string[]) => aliasesOf({ name: 'web', hostname }, { aliases });
  assert.deepEqual(called(null, 'shop'), ['shop']);
  assert.deepEqual(called('www.example', 'shop', 'web', 'shop'), ['shop', 'www.example']);
  assert.deepEqual(called('web'), []);
  assert.deepEqual(called('x'.repeat(64)), []);
  const many = Array.from({ length: 16 }, (_, at) => `a${at}`);
  assert.deepEqual(called('www', ...many), many);
});
