import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Host } from '../lab/host.ts';
import { eventually, exec } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

const SOURCE = fileURLToPath(new URL('../bench/tools/connections.c', import.meta.url));
const SECONDS = Number(process.env['STORM_SECONDS'] ?? 20);
/** More connections than one address has ports: each is used again, while others still know it. */
const [CLIENTS, PORTS] = [4, '32768 36863'] as const;
const [PUBLISHED, PORT] = ['8080', '9000'] as const;
/** What the kernel gave up of the connections that it tracks; of `invalid` are those that ended with a reset. */
const LOSSES = ['drop', 'early_drop'] as const;

describe('a storm of short connections', { timeout: (SECONDS + 60) * 1000 }, () => {
  const stage = useLab({ hosts: 3 });
  const host = (index: number): Host => stage.lab.host(index);
  const directory = mkdtempSync(join(tmpdir(), 'weft-storm-'));
  const program = join(directory, 'connections');
  after(() => rmSync(directory, { recursive: true, force: true }));
  let backend = '';

  before(async () => {
    await exec('cc', ['-O2', '-o', program, SOURCE]);
    await host(1).weft('network', 'create', 'frontend');
    await settled(stage.lab);
    const web = await host(2).createSandbox({ Name: 'web', Networks: ['frontend'] });
    backend = web.info.NetnsPath;
    const server = await host(2).spawn('nsenter', [`--net=${backend}`, '--', program, 'serve', PORT, '8']);
    await server.says(/^listening$/m);
    const { exitCode, stderr } = await host(1).weft('publish', 'web', `${PUBLISHED}:${PORT}`);
    assert.equal(exitCode, 0, stderr);
    await settled(stage.lab);
    await eventually('an answer', async () => {
      const { exitCode: code } = await host(3).exec(program, ['round', host(1).address, PUBLISHED, '1'], {
        check: false,
      });
      return code === 0;
    });
    await host(3).exec('sysctl', ['-w', `net.ipv4.ip_local_port_range=${PORTS}`]);
  });

  /** Where a connection is tracked: the host that it comes to, the gate there, the endpoint. */
  const places = async (): Promise<readonly (readonly [Host, string])[]> => [
    [host(1), '/proc/self/ns/net'],
    [host(1), (await host(1).sandbox('ingress-sbox')).info.NetnsPath],
    [host(2), backend],
  ];
  const losses = async (): Promise<Record<string, number>> => {
    const sums: Record<string, number> = { drop: 0, early_drop: 0 };
    for (const [at, netns] of await places()) {
      const { stdout } = await at.execIn(netns, 'cat', ['/proc/net/stat/nf_conntrack']);
      const [names = [], ...rows] = stdout
        .trim()
        .split('\n')
        .map((line) => line.trim().split(/\s+/));
      for (const row of rows) {
        for (const name of LOSSES) sums[name] = (sums[name] ?? 0) + Number.parseInt(row[names.indexOf(name)] ?? '', 16);
      }
    }
    return sums;
  };

  it(`goes on for ${SECONDS} s by one address, with each port many times over, while the agent is started anew`, async () => {
    const before = await losses();
    const storm = host(3).exec(program, ['storm', host(1).address, PUBLISHED, String(SECONDS), String(CLIENTS)], {
      timeoutMs: (SECONDS + 30) * 1000,
    });
    // Whatever becomes of it meanwhile, this is what is waited for.
    storm.catch(() => {});
    await host(1).killAgent();
    await host(1).startAgent();
    await settled(stage.lab);
    // It ends badly when one connection was refused, or not answered within three seconds.
    const counts = JSON.parse((await storm).stdout) as number[];
    assert.equal(counts.length, SECONDS);
    assert.ok(
      counts.every((count) => count > 0),
      `connections of each second: ${counts}`,
    );
    const total = counts.reduce((sum, count) => sum + count, 0);
    const [first = 0, last = 0] = PORTS.split(' ').map(Number);
    assert.ok(total > 2 * (last - first + 1), `${total} connections`);
    assert.deepEqual(await losses(), before);
    for (const [at, netns] of await places()) {
      const { stdout } = await at.execIn(netns, 'sysctl', [
        '-n',
        'net.netfilter.nf_conntrack_count',
        'net.netfilter.nf_conntrack_max',
      ]);
      const [tracked = 0, most = 0] = stdout.trim().split('\n').map(Number);
      assert.ok(tracked < most / 2, `${tracked} of ${most} on ${at.name} in ${netns}`);
    }
  });
});
