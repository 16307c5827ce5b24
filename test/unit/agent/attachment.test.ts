import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attachmentOf, ifNameFor, withLabels } from '../../../agent/daemon/sandboxes/attachment.ts';
import type { StoredSandbox } from '../../../agent/sandbox-state.ts';

const leg = { networkId: 'n', endpointId: 'e', mac: '02:00:00:00:00:01', ip: null, aliases: [], createdMs: 0 };
const sandbox = {
  ...{ name: 'web', labels: { a: '1' }, legs: [], local: [{ ...leg, ifName: 'eth0', device: null }] },
  gateway: { endpointId: 'g', ifName: 'gw0', mac: '02:00:00:00:00:02', ip: '172.18.0.2' },
} as unknown as StoredSandbox;

describe('how a sandbox is to be on a network', () => {
  it('names interface and MAC address, in their one spelling, or neither', () => {
    const { ifName, mac } = attachmentOf({ Interface: 'net1', MacAddress: '02:42:0A:00:00:01' });
    assert.deepEqual([ifName, mac], ['net1', '02:42:0a:00:00:01']);
    assert.deepEqual([attachmentOf({}).ifName, attachmentOf({}).mac], [null, null]);
    assert.throws(() => attachmentOf({ Interface: '../x' }), /is not an interface name/);
    assert.throws(() => attachmentOf({ MacAddress: '01:00:00:00:00:01' }), /group bit/);
  });

  it('takes an interface name that is asked for, unless anything in the sandbox has it', () => {
    assert.equal(ifNameFor(sandbox, ['lo'], 'net1'), 'net1');
    assert.equal(ifNameFor(sandbox, ['lo'], null), 'eth1');
    assert.equal(ifNameFor(sandbox, ['lo'], null, 'gw'), 'gw1');
    for (const name of ['lo', 'eth0', 'gw0']) {
      assert.throws(() => ifNameFor(sandbox, ['lo'], name), { code: 'interface_taken' });
    }
  });

  it('adds labels, as many as a sandbox may have', () => {
    assert.deepEqual(withLabels(sandbox, { b: '2', a: '3' }).labels, { a: '3', b: '2' });
    const many = Object.fromEntries(Array.from({ length: 64 }, (_, at) => [`l${at}`, '']));
    assert.throws(() => withLabels(sandbox, many), /over 64 labels/);
  });
});
