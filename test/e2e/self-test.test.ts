import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { SelfTestReply } from '../../agent/api/schema.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

const badCard = fileURLToPath(new URL('../lab/tools/bad-card.mjs', import.meta.url));
const patient = { timeoutMs: 60_000, everyMs: 200 };

const selfTest = (host: Host): Promise<SelfTestReply> => host.api.call('selfTest', { timeoutMs: 60_000 });
const warnings = async (host: Host): Promise<string> => (await host.api.call('status')).Warnings.join('\n');

describe('the self-test of the data path', () => {
  const stage = useLab({ hosts: 2 });
  const hosts = (): readonly [Host, Host] => [stage.lab.host(1), stage.lab.host(2)];

  it('finds nothing on a sound path', async () => {
    const [one, two] = hosts();
    await settled(stage.lab);
    const reply = await selfTest(one);
    assert.deepEqual(
      reply.Results.map(({ Hostname, State, Fault, Bytes }) => [Hostname, State, Fault, Bytes]),
      [[two.name, 'ok', '', 1450]],
    );
    assert.equal(reply.SoftwareChecksums, false);
    const run = await one.weft('self-test', two.name);
    assert.equal(run.exitCode, 0);
    assert.match(run.stdout, /^host2 +10\.99\.0\.2 +[\d.]+ ms +ok \(up to 1450 bytes\)$/m);
    const unknown = await one.weft('self-test', 'nobody');
    assert.match(unknown.stderr, /nobody/);
  });

  it('names a port that is filtered, what may hold it, and the way out', async () => {
    const [one, two] = hosts();
    await two.exec('nft', ['-f', '-'], {
      input: 'table inet deaf { chain in { type filter hook input priority 0; udp dport 4789 drop; }; }\n',
    });
    const run = await one.weft('self-test');
    assert.equal(run.exitCode, 1);
    assert.match(run.stdout, /failed: data path to host2 \(10\.99\.0\.2\): .*UDP port 4789.*--data-path-port/);
    // By itself, when it starts.
    await one.stopAgent();
    await one.startAgent();
    await eventually('a warning', async () => /UDP port 4789/.test(await warnings(one)) || undefined, patient);
    await two.exec('nft', ['delete', 'table', 'inet', 'deaf']);
    await eventually('no warning', async () => !/UDP port 4789/.test(await warnings(one)) || undefined, patient);
  });

  it('finds that large packets get lost', async () => {
    const [one, two] = hosts();
    const input =
      'table inet narrow { chain in { type filter hook input priority 0; udp dport 4789 udp length > 1200 drop; }; }\n';
    await two.exec('nft', ['-f', '-'], { input });
    const { Results: results } = await selfTest(one);
    await two.exec('nft', ['delete', 'table', 'inet', 'narrow']);
    assert.deepEqual(
      results.map(({ State, Fault }) => [State, Fault]),
      [['failed', 'size']],
    );
  });

  it('works around a network card that spoils checksums inside VXLAN', async () => {
    const [one, two] = hosts();
    const { underlay } = stage.lab;
    // host2's port of the underlay is led through the card.
    await underlay.ip([
      'link add card0 type veth peer name card1',
      'link set card0 up',
      `link set ${two.port} nomaster`,
      'link set card1 master underlay up',
    ]);
    const card = await underlay.spawn(process.execPath, [badCard, two.port, 'card0', '4789']);
    await card.says(/^carrying$/m);
    const before = await selfTest(one);
    assert.equal(before.Results[0]?.Fault, 'offload', JSON.stringify(before));
    for (const host of hosts()) await host.stopAgent();
    for (const host of hosts()) await host.startAgent();
    for (const host of hosts()) {
      await eventually(
        `${host.name} to make checksums itself`,
        async () => {
          const reply = await selfTest(host);
          return (reply.SoftwareChecksums && reply.Results.every(({ State }) => State === 'ok')) || undefined;
        },
        patient,
      );
    }
    assert.match((await one.weft('self-test')).stdout, /Checksums are made in software on this host/);
    card.signal('SIGKILL');
    await underlay.ip([`link set ${two.port} master underlay`, 'link del card0']);
  });
});
