import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ErrorReply, Sandbox, Status } from '../../agent/api/schema.ts';
import type { Host, LabSandbox } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { useLab } from '../lab/suite.ts';

const files = ['/etc/hostname', '/etc/hosts', '/etc/resolv.conf'] as const;
const pathsOf = ({ HostnamePath, HostsPath, ResolvConfPath }: Sandbox) => [HostnamePath, HostsPath, ResolvConfPath];

async function read(host: Host, path: string): Promise<string> {
  return (await host.exec('cat', [path])).stdout;
}

async function inodes(host: Host, { info }: LabSandbox): Promise<string[]> {
  return (await host.exec('stat', ['-c', '%i %a %U', ...pathsOf(info)])).stdout.trim().split('\n');
}

/** A change that is heard of takes less, on a busy machine too; one that is found by looking takes five seconds. */
const HEARD_MS = 4_000;
/** A second is promised; a machine that stands still for one breaks that for one of many. */
const PROMISED_MS = 1_000;

/** @returns how long it took, milliseconds */
async function resolvConfSays(host: Host, { info }: LabSandbox, wanted: RegExp, timeoutMs = HEARD_MS): Promise<number> {
  const startMs = performance.now();
  await eventually(
    `resolv.conf of ${info.Name}`,
    async () => {
      const text = await read(host, info.ResolvConfPath);
      if (wanted.test(text)) return true;
      throw new Error(text);
    },
    { timeoutMs },
  );
  return performance.now() - startMs;
}

const setResolvConf = (host: Host, text: string) => host.exec('tee', ['/etc/resolv.conf'], { input: text });

async function warningsOf(host: Host): Promise<string[]> {
  return (await host.weftJson<Status>('status')).Warnings;
}

describe("a sandbox's files", () => {
  const stage = useLab({ hosts: 1 });

  it('are what ip netns exec and weft sandbox exec show, and nobody else', async () => {
    const host = stage.lab.host(1);
    // One that leads out has the agent for its nameserver, whatever the host says (dns.test.ts).
    await host.weftJson('network', 'create', '--internal', 'front');
    const options = [
      '--dns',
      '192.0.2.53',
      '--dns-search',
      'corp.example',
      '--dns-opt',
      'ndots:2',
      '--dns-option',
      'rotate',
    ];
    const made = ['--network', 'front', '--hostname', 'www.corp.example', ...options, 'web'];
    const web = await host.weftJson<Sandbox>('sandbox', 'create', ...made);
    const [address] = web.Networks[0]?.IPv4Address.split('/') ?? [];
    assert.deepEqual(
      [web.Hostname, web.Dns, web.DnsSearch, web.DnsOptions],
      ['www.corp.example', ['192.0.2.53'], ['corp.example'], ['ndots:2', 'rotate']],
    );
    const name = web.NetnsPath.replace('/run/netns/', '');
    assert.deepEqual(
      pathsOf(web),
      files.map((path) => path.replace('/etc/', `/etc/netns/${name}/`)),
    );
    const own = await read(host, '/etc/hosts');
    const shown = (await host.exec('ip', ['netns', 'exec', name, 'cat', ...files])).stdout;
    assert.match(shown, /^www\.corp\.example\n/);
    assert.ok(shown.includes(`\n${address}\twww.corp.example www web\n`), shown);
    assert.match(shown, /\nnameserver 192\.0\.2\.53\nsearch corp\.example\noptions ndots:2 rotate\n$/);
    const inside = await host.weft('sandbox', 'exec', 'web', '--', 'cat', ...files);
    assert.equal(inside.stdout, shown);
    assert.equal(
      (await host.weft('sandbox', 'exec', 'web', 'getent', 'ahostsv4', 'www')).stdout.split(/\s/)[0],
      address,
    );
    assert.equal(await read(host, '/etc/hosts'), own);
  });

  it('of a namespace that was adopted are beside the socket, and shown by weft sandbox exec', async () => {
    const host = stage.lab.host(1);
    await host.exec('ip', ['netns', 'add', 'blue']);
    const blue = await host.createSandbox({ Name: 'blue', Networks: ['front'], NetnsPath: '/run/netns/blue' });
    assert.match(blue.info.HostsPath, /^\/run\/weft\/sandboxes\/[0-9a-f]{12}\/hosts$/);
    const shown = await host.weft('sandbox', 'exec', 'blue', '--', 'cat', '/etc/hostname', '/etc/resolv.conf');
    assert.match(shown.stdout, /^blue\n[\s\S]*\nnameserver 198\.51\.100\.1\noptions timeout:1 attempts:1\n$/);
  });

  it('are each the same inode while networks, the host and the agent change, which is seen within a second', async () => {
    const host = stage.lab.host(1);
    await host.weftJson('network', 'create', '--internal', 'back');
    const plain = await host.createSandbox({ Name: 'plain', Networks: ['front'], DnsSearch: ['.'] });
    const all = [plain, await host.sandbox('web'), await host.sandbox('blue'), await host.sandbox('ingress-sbox')];
    const before = await Promise.all(all.map((sandbox) => inodes(host, sandbox)));
    for (const [hostname] of before) assert.match(hostname ?? '', /^\d+ 644 root$/);
    // Bound elsewhere, as a container has it: what is renamed into place would not show there.
    const bound = '/run/bound';
    await host.exec('touch', [bound]);
    await host.exec('mount', ['--bind', plain.info.HostsPath, bound]);

    const lines = async () => (await read(host, bound)).split('\n').filter((line) => line.endsWith('\tplain')).length;
    assert.equal(await lines(), 1);
    await host.weftJson('network', 'connect', 'back', 'plain');
    assert.equal(await lines(), 2);
    await host.weftJson('network', 'disconnect', 'back', 'plain');
    assert.equal(await lines(), 1);

    const tookMs: number[] = [];
    const follow = async (server: string) => {
      for (const sandbox of [plain, all[2]])
        if (sandbox) tookMs.push(await resolvConfSays(host, sandbox, new RegExp(`\nnameserver ${server}\n`)));
      // It names all three lists itself.
      assert.match(
        await read(host, all[1]?.info.ResolvConfPath ?? ''),
        /\nnameserver 192\.0\.2\.53\nsearch corp\.example/,
      );
    };
    await setResolvConf(host, 'search host.example\nnameserver 198.51.100.2\n');
    await follow('198.51.100.2');
    await host.exec('cp', ['/etc/resolv.conf', '/run/resolv.conf']);
    await host.exec('sed', ['-i', 's/100.2/100.3/', '/run/resolv.conf']);
    await host.exec('ln', ['-sf', '/run/resolv.conf', '/etc/resolv.conf']);
    await follow('198.51.100.3');
    await host.exec('sed', ['-i', 's/100.3/100.4/', '/run/resolv.conf']);
    await follow('198.51.100.4');
    assert.match(await read(host, all[2]?.info.ResolvConfPath ?? ''), /\nsearch host\.example\n/);
    assert.doesNotMatch(await read(host, plain.info.ResolvConfPath), /search/);

    // What systemd-resolved asks, behind its stub.
    await host.exec('mkdir', ['-p', '/run/systemd/resolve']);
    await host.exec('tee', ['/run/systemd/resolve/resolv.conf'], { input: 'nameserver 198.51.100.5\n' });
    await setResolvConf(host, 'nameserver 127.0.0.53\n');
    await follow('198.51.100.5');
    assert.deepEqual(await warningsOf(host), []);
    await host.exec('rm', ['/run/systemd/resolve/resolv.conf']);
    // A stub that nobody in a sandbox reaches; the agent does.
    await resolvConfSays(host, plain, /^# [^\n]*\n$/);
    assert.deepEqual(await warningsOf(host), []);
    const late = tookMs.filter((each) => each > PROMISED_MS);
    assert.ok(tookMs.length === 8 && late.length <= 1, `${tookMs} ms`);

    await host.killAgent();
    await setResolvConf(host, 'nameserver 198.51.100.6\n');
    await host.exec('rm', [plain.info.HostnamePath]);
    await host.startAgent({ config: { 'dns-opts': ['edns0'] } });
    for (const sandbox of [plain, all[2]]) {
      const said = /\nnameserver 198\.51\.100\.6\n(search .*\n)?options edns0\n$/;
      if (sandbox) await resolvConfSays(host, sandbox, said, 10_000);
    }
    assert.equal(await read(host, plain.info.HostnamePath), 'plain\n');
    const after = await Promise.all(all.map((sandbox) => inodes(host, sandbox)));
    // But for the one that was removed.
    assert.deepEqual([after[0]?.slice(1), ...after.slice(1)], [before[0]?.slice(1), ...before.slice(1)]);
    await host.exec('umount', [bound]);
  });

  it('take nothing that would be another line or nonsense; each refusal has its code and what to do', async () => {
    const host = stage.lab.host(1);
    const flags: [code: string, ...flags: string[]][] = [
      ['invalid_hostname', '--hostname', 'a b'],
      ['invalid_hostname', '--hostname', 'x'.repeat(65)],
      ['invalid_dns', '--dns', 'resolver.example'],
      ['invalid_dns', '--dns', '192.0.2.1\nsearch evil.example'],
      ['invalid_dns', ...['1', '2', '3', '4'].flatMap((last) => ['--dns', `192.0.2.${last}`])],
      ['invalid_dns_search', '--dns-search', '.', '--dns-search', 'corp.example'],
      ['invalid_dns_option', '--dns-option', 'ndots: 2'],
    ];
    for (const [code, ...given] of flags) {
      const refused = await host.weft('sandbox', 'create', ...given, '--json', 'bad');
      const { error } = JSON.parse(refused.stderr) as { error: ErrorReply };
      assert.deepEqual([refused.exitCode, error.code], [1, code], refused.stderr);
      assert.notEqual(error.hint ?? '', '');
    }
    assert.ok((await host.api.call('sandboxList')).every(({ Name: name }) => name !== 'bad'));
  });

  it("that are somebody else's are named and left alone, and ours go with their sandbox or with the cluster", async () => {
    const host = stage.lab.host(1);
    const [plain, web, blue] = [await host.sandbox('plain'), await host.sandbox('web'), await host.sandbox('blue')];
    const directory = (sandbox: LabSandbox) => sandbox.info.HostsPath.replace('/hosts', '');
    const there = async (path: string) => (await host.exec('test', ['-e', path], { check: false })).exitCode === 0;
    await host.stopAgent();
    await host.exec('rm', ['-r', directory(plain)]);
    await host.exec('mkdir', [directory(plain)]);
    await host.exec('tee', [plain.info.ResolvConfPath], { input: 'nameserver 192.0.2.99\n' });
    // As a crash leaves it.
    await host.exec('cp', ['-a', directory(web), '/etc/netns/weft-00000000dead']);
    await host.startAgent();
    await eventually('a warning', async () => {
      return (await warningsOf(host)).some((line) => /plain: .* was made by somebody else/.test(line)) || undefined;
    });
    assert.equal(await there('/etc/netns/weft-00000000dead'), false);
    assert.equal((await host.weft('sandbox', 'rm', 'plain', 'blue')).exitCode, 0);
    assert.equal(await read(host, plain.info.ResolvConfPath), 'nameserver 192.0.2.99\n');
    assert.deepEqual([await there(directory(blue)), await there(directory(web))], [false, true]);
    assert.equal((await host.weft('leave', '--force')).exitCode, 0);
    const left = (await host.exec('ls', ['/etc/netns', '/run/weft/sandboxes'])).stdout;
    assert.equal(left, `/etc/netns:\n${directory(plain).replace('/etc/netns/', '')}\n\n/run/weft/sandboxes:\n`);
  });
});
