import assert from 'node:assert/strict';
import { test } from 'node:test';
import { echoRequest, HostProbe, parseEchoReply } from '../../../dataplane/path/probe.ts';

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const nonce = Buffer.alloc(16, 7);

/** What the host that was asked sends back, as a raw socket of that family sees it. */
function replyTo(family: 4 | 6, request: Buffer): Buffer {
  const message = Buffer.from(request);
  message[0] = family === 4 ? 0 : 129;
  // An IPv4 header with one word of options: its length has to be read, not assumed.
  return family === 4 ? Buffer.concat([Buffer.from([0x46]), Buffer.alloc(23), message]) : message;
}

test('a reply is read back with its identifier and nonce, of either family', () => {
  for (const family of [4, 6] as const) {
    const reply = parseEchoReply(family, replyTo(family, echoRequest(family, 0xbeef, 3, nonce)));
    assert.deepEqual([reply?.id, reply?.nonce], [0xbeef, nonce]);
  }
});

test('requests, errors and scraps are no replies', () => {
  const request = echoRequest(4, 1, 1, nonce);
  const whole = replyTo(4, request);
  assert.equal(parseEchoReply(6, request), null);
  const unreachable = Buffer.from(whole);
  unreachable[24] = 3;
  assert.equal(parseEchoReply(4, unreachable), null);
  for (let length = 0; length < whole.length; length += 1)
    assert.equal(parseEchoReply(4, whole.subarray(0, length)), null);
});

test('this host answers itself, each of many probes its own, and an address of nobody does not', async () => {
  const probe = new HostProbe(quiet);
  const many = await Promise.all(Array.from({ length: 40 }, () => probe.answers('127.0.0.1', 5_000)));
  assert.ok(many.every((answer) => answer === true));
  // Reserved (RFC 1112): nobody has such an address.
  assert.equal(await probe.answers('240.0.0.1', 100), false);
});
