import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parsePublishedPort, parseServicePort } from '../../../../agent/ports/service-ports.ts';

test('what is published of a service: a port, or a range for a range', () => {
  const cases: [text: string, protocol: string, published: number, target: number, count: number][] = [
    ['8080:80', 'tcp', 8080, 80, 1],
    ['8080:80/udp', 'udp', 8080, 80, 1],
    ['8080:80/SCTP', 'sctp', 8080, 80, 1],
    ['8000-8010:80-90', 'tcp', 8000, 80, 11],
    ['8000-8000:80', 'tcp', 8000, 80, 1],
    ['64512-65535:1-1024', 'tcp', 64_512, 1, 1024],
  ];
  for (const [text, protocol, published, target, count] of cases)
    assert.deepEqual(parseServicePort(text), { ok: true, value: { protocol, published, target, count } }, text);
  for (const [text, why] of [
    ['80', /want PUBLISHED/],
    ['', /want PUBLISHED/],
    ['8080:80/icmp', /want PUBLISHED/],
    ['8080:80/tcp/udp', /want PUBLISHED/],
    ['192.0.2.1:8080:80', /leave the address out/],
    ['[::1]:8080:80', /leave the address out/],
    ['0:80', /ports from 1 to 65535/],
    ['8080:65536', /ports from 1 to 65535/],
    [':80', /ports from 1 to 65535/],
    ['90-80:80-90', /ports from 1 to 65535/],
    ['8000-8010:80', /not as long/],
    ['1-1025:1-1025', /1025 ports are more than 1024/],
  ] as const) {
    const parsed = parseServicePort(text);
    assert.ok(!parsed.ok, text);
    assert.match(parsed.reason, why, text);
    assert.ok(parsed.reason.startsWith(`cannot publish ${JSON.stringify(text)}: `));
  }
});

test('what is taken back: a published port, or a range', () => {
  assert.deepEqual(parsePublishedPort('8080'), { ok: true, value: { protocol: 'tcp', published: 8080, count: 1 } });
  assert.deepEqual(parsePublishedPort('8000-8010/udp'), {
    ok: true,
    value: { protocol: 'udp', published: 8000, count: 11 },
  });
  for (const text of ['', '8080:80', '0', '8080/icmp', '1-1025', '65536', '10-9', ' 80'])
    assert.equal(parsePublishedPort(text).ok, false, text);
});
