import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Sandbox } from '../../agent/api/schema.ts';
import type { Host, LabSandbox } from '../lab/host.ts';
import { dig, getent, nameserver } from '../lab/names.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { createSandbox } from '../lab/verbs.ts';

const [outside, other] = ['198.51.100.1', '198.51.100.2'];

const resolvConf = async ({ host, info }: LabSandbox): Promise<string> =>
  (await host.exec('cat', [info.ResolvConfPath])).stdout;

const setResolvConf = (host: Host, text: string) => host.exec('tee', ['/etc/resolv.conf'], { input: text });

/** Asks again until the answer is as wanted. @returns how long that took, milliseconds */
async function becomes(from: LabSandbox, args: string[], wanted: RegExp, timeoutMs = 10_000): Promise<number> {
  const startMs = performance.now();
  await eventually(
    `dig ${args.join(' ')} to say ${wanted}`,
    async () => {
      const { status, data } = await dig(from, ...args);
      const said = `${status} ${data.join(' ')}`;
      if (wanted.test(said)) return true;
      throw new Error(said);
    },
    { timeoutMs },
  );
  return performance.now() - startMs;
}

const ask = async (from: Host | LabSandbox, server: string, name: string): Promise<string> =>
  (await from.exec('dig', [`@${server}`, '+tries=1', '+time=2', name], { check: false })).stdout;

describe('names', () => {
  const stage = useLab({ hosts: 3 });
  const hosts = (): readonly [Host, Host, Host] => [stage.lab.host(1), stage.lab.host(2), stage.lab.host(3)];
  const app = () => stage.lab.host(1).sandbox('app');

  it('resolve across hosts, by what tells them apart from others on the network', async () => {
    const [one, two, three] = hosts();
    await one.weftJson('network', 'create', '--ipv6', '--subnet', '10.9.1.0/24', '--subnet', 'fd00:9:1::/64', 'front');
    await one.weftJson('network', 'create', '--subnet', '10.9.2.0/24', 'back');
    await settled(stage.lab);
    const from = await createSandbox(one, '--network', 'front', 'app');
    const named = ['--network', 'front', '--hostname', 'sql.example'];
    const ports = ['-p', '8080:80', '-p', '5353:53/udp'];
    const db = await createSandbox(two, ...named, ...ports, '--network-alias', 'store', '--alias', 'data', 'db');
    const two_ = await createSandbox(three, '--network', 'front', '--network', 'back', '--alias', 'store', 'Db2');
    await createSandbox(three, '--network', 'back', 'lone');
    await settled(stage.lab);
    assert.match(await resolvConf(from), /\nnameserver 172\.\d+\.0\.1\noptions timeout:1 attempts:1\n$/);
    assert.deepEqual(db.info.Networks[0]?.Aliases, ['store', 'data']);

    const [ip, ip6] = [db.address('front'), db.address6('front')];
    for (const name of ['db', 'DB', 'db.front', 'data', 'data.front', 'sql.example', 'tasks.db', 'tasks.db.front']) {
      assert.deepEqual((await dig(from, name)).data, [ip], name);
    }
    const found = await dig(from, 'db');
    assert.deepEqual([found.status, found.flags], ['NOERROR', ['qr', 'aa', 'rd', 'ra']]);
    assert.ok(found.ttl >= 1 && found.ttl <= 5, `TTL ${found.ttl}`);
    assert.deepEqual((await dig(from, '+tcp', 'db')).data, [ip]);
    assert.deepEqual((await dig(from, '-t', 'AAAA', 'db')).data, [ip6]);
    assert.deepEqual(await getent(from, 'db'), [ip]);
    assert.deepEqual(await getent(from, 'db2', 'ahostsv6'), [two_.address6('front')]);
    // Each of the two on another host, in any order.
    assert.deepEqual((await dig(from, 'store')).data, [ip, two_.address('front')].sort());
    const firsts = new Set<string | undefined>();
    await eventually('both to come first once', async () => {
      firsts.add((await from.exec('dig', ['+short', `@${from.info.Gateway?.Gateway}`, 'store'])).stdout.split('\n')[0]);
      return firsts.size === 2 || undefined;
    });

    // At its own port, as it is reached there; the other one so called serves nothing.
    for (const name of ['_80._tcp.db', '_80._tcp.store.front']) {
      const { data, additional } = await dig(from, '-t', 'SRV', name);
      assert.deepEqual([data, additional], [['0 1 80 db.front.'], [ip, ip6].sort()], name);
    }
    const service = async (...args: string[]): Promise<unknown[]> => {
      const { status, data } = await dig(from, ...args);
      return [status, ...data];
    };
    assert.deepEqual(await service('-t', 'SRV', '_53._udp.db'), ['NOERROR', '0 1 53 db.front.']);
    assert.deepEqual(await service('-t', 'A', '_80._tcp.db'), ['NOERROR']);
    assert.deepEqual(await service('-t', 'SRV', '_80._tcp.db2'), ['NXDOMAIN']);
    assert.deepEqual(await service('-t', 'SRV', '_8080._tcp.db'), ['NXDOMAIN']);

    assert.deepEqual((await dig(from, '-x', ip)).data, ['db.front.']);
    assert.deepEqual((await dig(from, '-x', ip6)).data, ['db.front.']);
    assert.equal((await dig(from, '-x', '10.9.1.200')).status, 'NXDOMAIN');
    // A name that has no record of that type, and is asked of nobody else: the host's nameserver is not there yet.
    for (const type of ['MX', 'TXT', 'HTTPS']) {
      const { status, data } = await dig(from, '-t', type, 'db');
      assert.deepEqual([status, data], ['NOERROR', []], type);
    }
    const back = await three.sandbox('lone');
    assert.deepEqual((await dig(back, 'Db2')).data, [two_.address('back')]);
    assert.deepEqual((await dig(back, '-t', 'AAAA', 'db2')).data, []);
    assert.equal((await dig(back, '-t', 'AAAA', 'db2')).status, 'NOERROR');
    assert.deepEqual((await dig(back, 'app')).data, []);
    assert.deepEqual((await dig(from, 'lone')).data, []);
    assert.deepEqual((await dig(from, '-x', two_.address('back'))).data, []);
    // The host itself is on no network.
    const own = (await one.exec('dig', [`@${from.info.Gateway?.Gateway}`, 'db'])).stdout;
    assert.match(own, /status: REFUSED/);
  });

  it('follow who is connected to what', async () => {
    const [one, , three] = hosts();
    const from = await app();
    await one.weftJson('network', 'connect', '--network-alias', 'me', 'back', 'app');
    await becomes(from, ['lone'], /^NOERROR 10\.9\.2\./);
    await becomes(await three.sandbox('lone'), ['me'], /^NOERROR 10\.9\.2\./);
    await one.weftJson('network', 'disconnect', 'back', 'app');
    assert.deepEqual((await dig(from, 'lone')).data, []);
    const extra = await createSandbox(three, '--network', 'front', '--network-alias', 'store', 'extra');
    await becomes(from, ['extra'], new RegExp(`^NOERROR ${extra.address('front')}$`));
    assert.equal((await dig(from, 'store')).data.length, 3);
    await three.weft('sandbox', 'rm', 'extra');
    await becomes(from, ['-x', extra.address('front')], /^NXDOMAIN/);
  });

  it('of others are asked of the nameservers of the host, whoever these are by now', async () => {
    const [one, , three] = hosts();
    const from = await app();
    const first = await nameserver(stage.lab, outside);
    await setResolvConf(one, `search corp.example\nnameserver ${outside}\n`);
    await becomes(from, ['www.example'], /^NOERROR 192\.0\.2\.1$/);
    assert.deepEqual(await getent(from, 'www.example'), ['192.0.2.1']);
    // The search domain is the host's, and the client's matter.
    assert.match(await resolvConf(from), /\nnameserver 172\.\d+\.0\.1\nsearch corp\.example\n$/);
    assert.deepEqual(await getent(from, 'www'), ['192.0.2.1']);
    const gone = await dig(from, 'nothing.example');
    assert.deepEqual([gone.status, gone.data], ['NXDOMAIN', []]);
    assert.deepEqual((await dig(from, '-t', 'AAAA', 'www.example')).status, 'NOERROR');
    // Kept, and counted down.
    const asked = () => first.text.split('udp 1 www.example\n').length - 1;
    const before = asked();
    const kept = await dig(from, 'WWW.example');
    assert.ok(kept.ttl <= 30 && asked() === before, 'it was asked again');

    assert.equal((await dig(from, 'big.example')).data.length, 100);
    assert.match(first.text, /^udp 1 big\.example\ntcp 1 big\.example$/m);
    const cut = await dig(from, '+ignore', '+noedns', 'big.example');
    // Those that fit, for whoever does not ask again by TCP.
    assert.deepEqual([cut.data.length, cut.flags.includes('tc')], [30, true]);
    assert.equal((await dig(from, '+ignore', '+bufsize=4096', 'big.example')).data.length, 100);

    // Who is on another bridge of the host, as a container of Docker's default one is, is told what the host knows and no more.
    await one.weftJson('network', 'create', '-d', 'bridge', 'lan');
    const beside = await createSandbox(one, '--network', 'lan', 'beside');
    const gateway = from.info.Gateway?.Gateway ?? '';
    await eventually('the bridge to be known', async () => {
      return /status: NOERROR[\s\S]*\s192\.0\.2\.1\n/.test(await ask(beside, gateway, 'www.example')) || undefined;
    });
    assert.doesNotMatch(await ask(beside, gateway, 'db'), /status: NOERROR/);
    // And who is on the underlay nothing.
    await three.exec('ip', ['route', 'replace', `${gateway}/32`, 'via', one.address]);
    assert.match(await ask(three, gateway, 'www.example'), /status: REFUSED/);
    await three.exec('ip', ['route', 'del', `${gateway}/32`, 'via', one.address]);

    await nameserver(stage.lab, other);
    await setResolvConf(one, `nameserver ${other}\n`);
    await becomes(from, ['www.example'], /^NOERROR 192\.0\.2\.2$/, 4_000);
    // The first of two does not answer.
    await setResolvConf(one, `nameserver 10.99.0.253\nnameserver ${outside}\n`);
    await becomes(from, ['www.example'], /^NOERROR 192\.0\.2\.1$/);
    // Nobody but us: that goes in no circle.
    await setResolvConf(one, `nameserver ${from.info.Gateway?.Gateway}\n`);
    await becomes(from, ['www.example'], /^SERVFAIL/);
    assert.equal((await dig(from, 'db')).status, 'NOERROR');
    assert.doesNotMatch(first.text, / (store|lone|app)$/m);
  });

  it('of a host that is dead are not told, and come back with it; those of an agent that restarts stay', async () => {
    const [one, two, three] = hosts();
    const from = await app();
    const [ip, ip2] = [(await two.sandbox('db')).address('front'), (await three.sandbox('Db2')).address('front')];
    await three.linkDown();
    await becomes(from, ['db2'], /^NXDOMAIN/, 60_000);
    assert.deepEqual((await dig(from, 'store')).data, [ip]);
    assert.equal((await dig(from, '-x', ip2)).status, 'NXDOMAIN');
    await three.linkUp();
    await becomes(from, ['store'], new RegExp(`^NOERROR ${[ip, ip2].sort().join(' ')}$`), 60_000);

    await two.killAgent();
    const isDown = async (): Promise<boolean> =>
      (await one.api.call('nodeList')).some(({ Hostname, Status }) => Hostname === two.name && Status === 'down');
    await eventually('the other to be down', isDown, { timeoutMs: 60_000 });
    assert.deepEqual((await dig(from, 'db')).data, [ip]);
    await two.startAgent();

    assert.equal(await one.stopAgent(), 0);
    assert.equal((await dig(from, 'db')).status, '');
    await one.startAgent();
    await becomes(from, ['db'], new RegExp(`^NOERROR ${ip}$`));
    assert.deepEqual(await getent(from, 'db'), [ip]);
  });

  it('are not told where somebody else has the port, which is said', async () => {
    const [one] = hosts();
    const from = await app();
    const gateway = from.info.Gateway?.Gateway ?? '';
    await one.stopAgent();
    const { pid } = await one.spawn('sleep', ['0']);
    assert.ok(pid !== 0);
    const code = `require('node:net').createServer().listen(53, '${gateway}', () => console.log('mine'))`;
    const holder = await one.spawn(process.execPath, ['-e', code]);
    await holder.says(/^mine$/m);
    await setResolvConf(one, `nameserver ${outside}\n`);
    await one.startAgent();
    await eventually('a warning', async () => {
      const { Warnings: warnings } = await one.api.call('status');
      return warnings.some((line) => line.includes(`port 53 of ${gateway} cannot be had`)) || undefined;
    });
    await eventually('the host to be asked', async () => (await resolvConf(from)).includes(outside) || undefined);
    await holder.end('SIGTERM');
    await becomes(from, ['db'], /^NOERROR/, 15_000);
    await eventually('us to be asked', async () => (await resolvConf(from)).includes(gateway) || undefined);
  });

  it('of a sandbox with no way out, or with nameservers of its own, are as they are given', async () => {
    const [one] = hosts();
    await one.weftJson('network', 'create', '--internal', 'shut');
    const shut = await one.weftJson<Sandbox>('sandbox', 'create', '--network', 'shut', 'shut');
    assert.equal(shut.Gateway, null);
    assert.match((await one.exec('cat', [shut.ResolvConfPath])).stdout, /\nnameserver 198\.51\.100\.1\n/);
    const given = await createSandbox(one, '--network', 'front', '--dns', other, 'given');
    assert.match(await resolvConf(given), /\nnameserver 198\.51\.100\.2\n/);
  });

  it('are told at the address that docker_gwbridge has, also when it was taken away, or is another', async () => {
    const [one, , three] = hosts();
    const from = await app();
    await one.exec('ip', ['link', 'del', 'docker_gwbridge']);
    await becomes(from, ['db'], /^NOERROR 10\.9\.1\./);
    assert.equal((await three.weft('leave', '--force')).exitCode, 0);
    const { joinAddress, tokens } = stage.cluster;
    const again = ['--token', tokens.worker, '--gwbridge-subnet', '172.30.0.0/16', joinAddress];
    await three.weftJson('join', '--advertise-addr', three.address, ...again);
    const moved = await createSandbox(three, '--network', 'front', 'moved');
    assert.equal(moved.info.Gateway?.Gateway, '172.30.0.1');
    await becomes(moved, ['db'], /^NOERROR 10\.9\.1\./);
    assert.match(await resolvConf(moved), /\nnameserver 172\.30\.0\.1\n/);
    const { stdout: listening } = await three.exec('ss', ['-Hlntu', 'sport', '=', ':53']);
    assert.deepEqual(new Set(listening.match(/\S+:53\b/g)), new Set(['172.30.0.1:53']));
  });
});
