import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  bridgeName,
  hostBridgeMac,
  hostBridgeName,
  hostPortName,
  isOurHostBridge,
  isOwnedNetns,
  overlayPortName,
  parseOurName,
  vxlanName,
} from '../../../dataplane/names.ts';
import { must, parseVni } from '../../../dataplane/values.ts';

test('names are read back', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0xffffff }), fc.stringMatching(/^[0-9a-f]{64}$/), (number, id) => {
      const vni = must(parseVni(number));
      const endpointHead = id.slice(0, 12);
      assert.deepEqual(parseOurName(bridgeName(vni)), { kind: 'bridge', vni });
      assert.deepEqual(parseOurName(vxlanName(vni)), { kind: 'vxlan', vni });
      assert.deepEqual(parseOurName(overlayPortName(id)), { kind: 'overlayPort', endpointHead });
      assert.deepEqual(parseOurName(hostPortName(id)), { kind: 'hostPort', endpointHead });
      assert.deepEqual(parseOurName(hostBridgeName(id)), { kind: 'hostBridge', networkHead: endpointHead });
    }),
  );
});

test('other names are not ours', () => {
  for (const name of [
    'eth0',
    'wb',
    'wb0',
    'wb007',
    'wx16777216',
    'wlan0',
    'wg0',
    'wv00112233445',
    'wg00112233445G',
    'xwb1',
  ]) {
    assert.equal(parseOurName(name), null, name);
  }
});

test('an endpoint id that is no id makes no name', () => {
  assert.throws(() => overlayPortName('web-1'), /12 hex digits/);
});

test('only weft- namespaces under /run/netns may be removed', () => {
  assert.ok(isOwnedNetns('/run/netns/weft-web'));
  for (const path of ['/run/netns/weft', '/run/netns/web', '/proc/1/ns/net', '/run/netns/weft-/../x']) {
    assert.equal(isOwnedNetns(path), false, path);
  }
});

test('killed_before_the_mark: a bridge that we made is ours before it is marked', () => {
  const fresh = { kind: 'bridge', alias: '', mac: hostBridgeMac('docker_gwbridge') };
  assert.ok(isOurHostBridge('docker_gwbridge', fresh));
  assert.ok(isOurHostBridge('docker_gwbridge', { ...fresh, alias: 'weft', mac: '02:00:00:00:00:01' }));
  assert.ok(!isOurHostBridge('docker_gwbridge', { ...fresh, mac: '02:42:00:00:00:01' }));
  assert.ok(!isOurHostBridge('docker_gwbridge', { ...fresh, kind: 'veth' }));
});
