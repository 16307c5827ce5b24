import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultMessage } from '../../../agent/selftest.ts';
import { faultIn } from '../../../dataplane/selftest/selftest.ts';
import { answersSyn, synSegment } from '../../../dataplane/selftest/syn.ts';
import { must, parseIp } from '../../../dataplane/values.ts';

const sound = { small: true, full: true, tcp: true, softwareTcp: true, rttMs: 0.3 };

test('what is found says where the path fails, the nearest cause first', () => {
  assert.equal(faultIn(sound), null);
  assert.equal(faultIn({ ...sound, full: false }), 'size');
  assert.equal(faultIn({ ...sound, tcp: false, full: false }), 'offload');
  assert.equal(faultIn({ ...sound, tcp: false, softwareTcp: false }), 'tcp');
  assert.equal(faultIn({ ...sound, small: false, tcp: false, softwareTcp: false, full: false }), 'vxlan');
});

test('each fault is told with the path, and what to do', () => {
  const path = { hostname: 'host2', vtep: '192.0.2.2', port: 4789, mtu: 1450 };
  for (const fault of ['vxlan', 'offload', 'tcp', 'size'] as const) {
    assert.match(faultMessage(fault, path), /^data path to host2 \(192\.0\.2\.2\): /);
  }
});

test('a segment that opens a connection, laid out by hand from RFC 9293', () => {
  const [from, to] = [must(parseIp('10.0.0.2')), must(parseIp('10.0.0.3'))];
  const segment = synSegment(from, to, 40_000, 9, 7);
  assert.equal(segment.toString('hex'), '9c4000090000000700000000' + '5002ffff' + 'ff8d0000');
  const refusal = Buffer.from(
    '4500002800004000400600000a0000030a000002' + '00099c400000000000000008' + '5014000000000000',
    'hex',
  );
  assert.ok(answersSyn(refusal, to, 40_000, 9, 7));
  assert.ok(!answersSyn(refusal, to, 40_001, 9, 7));
  assert.ok(!answersSyn(refusal, from, 40_000, 9, 7));
  assert.ok(!answersSyn(refusal, to, 40_000, 9, 8));
  assert.ok(!answersSyn(refusal.subarray(0, 30), to, 40_000, 9, 7));
});
