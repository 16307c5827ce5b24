import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { choosePorts, type Taken } from '../../../../agent/ports/choose.ts';
import type { PortSpec } from '../../../../agent/ports/publish.ts';
import { listenersOfHost, parseSctpEndpoints, parseSockets, processWith } from '../../../../dataplane/listeners.ts';
import { must, parseIp } from '../../../../dataplane/values.ts';

const few = [1000, 1007] as const;
const ips = [null, must(parseIp('127.0.0.1')), must(parseIp('10.99.0.1'))];
const protocol = fc.constantFrom('tcp' as const, 'udp' as const);
const spec: fc.Arbitrary<PortSpec> = fc.record({
  protocol,
  hostIp: fc.constantFrom(...ips),
  hostPorts: fc.option(fc.constantFrom([1000, 1000] as const, [1003, 1003] as const, [1000, 1003] as const)),
  port: fc.constant(80),
});
const taken: fc.Arbitrary<Taken> = fc.record({
  protocol,
  ip: fc.constantFrom(...ips),
  port: fc.integer({ min: few[0], max: few[1] }),
});
const meet = (a: { protocol: string; ip: string | null; port: number }, b: Taken): boolean =>
  a.protocol === b.protocol && a.port === b.port && (a.ip === null || b.ip === null || a.ip === b.ip);

test('nobody gets a port that somebody has, and each gets one that it asked for', () => {
  fc.assert(
    fc.property(
      fc.array(spec, { maxLength: 4 }),
      fc.array(taken, { maxLength: 6 }),
      fc.nat(2000),
      (specs, held, start) => {
        const chosen = choosePorts(specs, held, few, start);
        if (!chosen.ok) return;
        const all = chosen.ports.map(({ hostIp, hostPort, ...rest }) => ({ ...rest, ip: hostIp, port: hostPort }));
        for (const [i, port] of all.entries()) {
          assert.ok(![...held, ...all.slice(0, i)].some((other) => meet(port, other)), JSON.stringify(port));
          assert.ok(port.port >= few[0] && port.port <= few[1]);
        }
        assert.equal(all.length, specs.length);
      },
    ),
    { numRuns: 2000 },
  );
});

test('a port is refused only to whom all that it asked for is taken, with who has it', () => {
  const any: PortSpec = { protocol: 'tcp', hostIp: null, hostPorts: null, port: 80 };
  const held = { protocol: 'tcp', ip: '127.0.0.1', port: 1000 };
  assert.deepEqual(choosePorts([{ ...any, hostPorts: [1000, 1000] }], [held], few, 0), {
    ok: false,
    spec: { ...any, hostPorts: [1000, 1000] },
    holder: held,
  });
  const ports = (specs: PortSpec[], start = 0): number[] => {
    const chosen = choosePorts(specs, [held], few, start);
    return chosen.ok ? chosen.ports.map(({ hostPort }) => hostPort) : [];
  };
  assert.deepEqual(ports([{ ...any, hostPorts: [1000, 1003] }]), [1001]);
  assert.deepEqual(ports([any, any], 1006), [1006, 1007]);
  assert.deepEqual(ports([any], 1008), [1001], 'round again');
  assert.deepEqual(
    ports([any, { ...any, hostPorts: [1001, 1001] }]),
    [1001, 1002],
    'those that name theirs come first',
  );
});

test('sockets as the kernel lists them', () => {
  const head = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n';
  const row = (address: string, state: string, inode: number): string =>
    `   0: ${address} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0 100 0 0 10 0\n`;
  const text = `${head}${row('0100007F:1F90', '0A', 7)}${row('00000000:0050', '0A', 8)}${row('0100007F:2222', '01', 9)}`;
  assert.deepEqual(parseSockets(text, 'tcp'), [
    { protocol: 'tcp', ip: '127.0.0.1', port: 8080, inode: 7 },
    { protocol: 'tcp', ip: null, port: 80, inode: 8 },
  ]);
  const six = (address: string): string =>
    `   0: ${address} 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 5 2 0 0\n`;
  const mapped = '0000000000000000FFFF00000100007F:0035';
  const own = 'B80D0120000000000000000001000000:0035';
  assert.deepEqual(parseSockets(`${six(`${'0'.repeat(32)}:0044`)}${six(mapped)}${six(own)}`, 'udp'), [
    { protocol: 'udp', ip: null, port: 68, inode: 5 },
    { protocol: 'udp', ip: '127.0.0.1', port: 53, inode: 5 },
  ]);
  const eps =
    ' ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\nffff9d3c 0 2   10  29   3868     0 12345 10.0.0.1\n';
  assert.deepEqual(parseSctpEndpoints(eps), [{ protocol: 'sctp', ip: null, port: 3868, inode: 12_345 }]);
});

test('a process of this host that listens is found by its port, and named', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const address = server.address();
    const port = typeof address === 'object' ? address?.port : 0;
    const found = listenersOfHost().find((each) => each.protocol === 'tcp' && each.port === port);
    assert.equal(found?.ip, '127.0.0.1');
    assert.match(processWith(found?.inode ?? 0) ?? '', new RegExp(`\\(pid ${process.pid}\\)$`));
    assert.equal(processWith(-1), null);
  } finally {
    server.close();
  }
});
