import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parsePublish, portsMax } from '../../../../agent/ports/publish.ts';

const parsed = (text: string): string[] => {
  const result = parsePublish(text);
  assert.ok(result.ok, result.ok ? '' : result.reason);
  return result.value.map(
    ({ hostIp, hostPorts, port, protocol }) => `${hostIp ?? '*'} ${hostPorts?.join('-') ?? 'any'} ${port}/${protocol}`,
  );
};

test("Docker's spellings", () => {
  assert.deepEqual(parsed('80'), ['* any 80/tcp']);
  assert.deepEqual(parsed('8080:80'), ['* 8080-8080 80/tcp']);
  assert.deepEqual(parsed('0:80/UDP'), ['* any 80/udp']);
  assert.deepEqual(parsed(':80'), ['* any 80/tcp']);
  assert.deepEqual(parsed('127.0.0.1:8080:80'), ['127.0.0.1 8080-8080 80/tcp']);
  assert.deepEqual(parsed('127.0.0.1::80/sctp'), ['127.0.0.1 any 80/sctp']);
  assert.deepEqual(parsed('0.0.0.0:8080:80'), ['* 8080-8080 80/tcp']);
  assert.deepEqual(parsed('8000-8001:80-81'), ['* 8000-8000 80/tcp', '* 8001-8001 81/tcp']);
  assert.deepEqual(parsed('80-81'), ['* any 80/tcp', '* any 81/tcp']);
  assert.deepEqual(parsed('8000-8009:80'), ['* 8000-8009 80/tcp'], 'a choice');
});

test('what is refused says why', () => {
  for (const [text, why] of [
    ['', /want \[IP:\]/],
    ['http', /http is not a port/],
    ['0', /0 is not a port from 1 to 65535/],
    ['70000:80', /70000 is not a port/],
    ['8000-8001:80-82', /not as long as each other/],
    ['81-80', /81-80 is not a port/],
    ['127.0.0.1:80', /127\.0\.0\.1 is not a port/],
    ['[::1]:80:80', /IPv4 addresses only/],
    ['::1:80:80', /IPv4 addresses only/],
    ['a.b:80:80', /a\.b is not an IPv4 address/],
    ['80/icmp', /icmp is not tcp, udp or sctp/],
    ['80/tcp/udp', /want \[IP:\]/],
    ['1-2000', /2000 ports are more than 1024/],
    ['-1:80', /-1 is not a port/],
  ] as const) {
    const result = parsePublish(text);
    assert.ok(!result.ok, text);
    assert.match(result.reason, why, text);
  }
});

test('whatever comes out can stand in a rule', () => {
  const word = fc.string({ unit: fc.constantFrom(...'0123456789.:-/[]tcpudsab \n'.split('')), maxLength: 24 });
  fc.assert(
    fc.property(fc.oneof(word, fc.string()), (text) => {
      const result = parsePublish(text);
      if (!result.ok) return;
      assert.ok(result.value.length >= 1 && result.value.length <= portsMax);
      for (const { protocol, hostIp, hostPorts, port } of result.value) {
        assert.match(`${hostIp ?? ''}`, /^(\d+(\.\d+){3})?$/);
        for (const each of [port, ...(hostPorts ?? [1])])
          assert.ok(Number.isInteger(each) && each >= 1 && each <= 65_535);
        assert.ok(['tcp', 'udp', 'sctp'].includes(protocol));
      }
    }),
    { numRuns: 5000 },
  );
});
