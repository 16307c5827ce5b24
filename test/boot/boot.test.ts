import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import type { z } from 'zod';
import type * as schema from '../../agent/api/schema.ts';
import { addressOf, Installed } from './installed.ts';
import { ADDRESS, Machine } from './machine.ts';

type Sandbox = z.infer<typeof schema.Sandbox>;

const INSTALL = '/mnt/weft/deploy/install';
const UNIT = '/etc/systemd/system/weft.service';
const SOCKET = '/etc/systemd/system/weft-docker.socket';
// What `systemd-analyze security` makes of the unit, times ten. Most of it is the price of the trade: root, the host's
// network and its raw sockets, and no mount namespace.
const EXPOSURE = 48;
const unit = readFileSync(new URL('../../deploy/weft.service', import.meta.url), 'utf8');

// Each test builds on the one before it: one machine, from the first file that is laid to the last that is removed.
describe('a booted system', () => {
  let machine: Machine;
  let installed: Installed;
  let bare: Set<string>;
  let laid: string[];
  let one: Sandbox;
  let two: Sandbox;

  before(
    async () => {
      machine = await Machine.create();
      installed = new Installed(machine);
    },
    { timeout: 280_000 },
  );
  after(() => machine?.[Symbol.asyncDispose]());

  const FIND = ['/', '-xdev', '-not', '-type', 'd', '-printf', '%p\\n'] as const;
  const lines = (text: string): string[] =>
    text
      .split('\n')
      .map((line) => line.trim())
      .filter(Boolean);

  it('can be installed into before it boots', async () => {
    bare = new Set(lines((await machine.execUnbooted('find', FIND)).stdout));
    const { stderr } = await machine.execUnbooted(INSTALL, ['--no-start']);
    assert.match(stderr, /install: done; systemd is not running here/);
    laid = lines((await machine.execUnbooted('find', FIND)).stdout).filter((path) => !bare.has(path));
    for (const path of ['/usr/local/bin/weft', '/opt/weft/dist/weft.js', '/opt/cni/bin/weft', UNIT, SOCKET])
      assert.ok(laid.includes(path), path);
  });

  it('boots with all units well, and leaves ours alone', async () => {
    await machine.boot();
    assert.equal(await installed.unit('UnitFileState'), 'disabled');
    assert.equal(await installed.unit('ActiveState'), 'inactive');
  });

  it('understands the unit to the last line', async () => {
    const { stdout, stderr } = await machine.exec('systemd-analyze', ['verify', '--man=no', UNIT, SOCKET]);
    assert.equal(stdout + stderr, '');
  });

  it(`finds the unit exposed to ${EXPOSURE / 10} at most`, async () => {
    const options = ['--offline=true', '--no-pager', `--threshold=${EXPOSURE}`];
    await machine.exec('systemd-analyze', ['security', ...options, UNIT]);
  });

  it('gets it installed again, enabled and started; the agent says when it is ready', async () => {
    const { stderr } = await machine.exec(INSTALL, [], { timeoutMs: 120_000 });
    assert.match(stderr, /install: done; next: weft init/);
    assert.equal(await installed.unit('UnitFileState'), 'enabled');
    assert.equal(await installed.unit('Type'), 'notify');
    assert.equal(await installed.unit('ActiveState'), 'active');
    // Only the agent's own datagram can have set this, and it is the one that says READY.
    assert.equal(await installed.unit('StatusText'), 'inactive');
    assert.match(await installed.weft('status'), /^State: +inactive$/m);
  });

  it('has the agent in its mount namespace, with no privilege but those the unit names', async () => {
    const pid = await installed.unit('MainPID');
    const [theirs, ours] = lines(await machine.shell(`readlink /proc/${pid}/ns/mnt /proc/1/ns/mnt`));
    assert.equal(theirs, ours);
    const status = await machine.shell(`cat /proc/${pid}/status`);
    const value = (key: string): string => new RegExp(`^${key}:\\s+(\\S+)$`, 'm').exec(status)?.[1] ?? '';
    assert.deepEqual([value('NoNewPrivs'), value('Seccomp')], ['1', '2']);
    const named = /^CapabilityBoundingSet=(.+)$/m.exec(unit)?.[1]?.split(' ') ?? [];
    const numbers = await machine.shell(`systemd-analyze capability ${named.join(' ')} | grep -o '[0-9]*$'`);
    const mask = lines(numbers).reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n);
    assert.notEqual(mask, 0n);
    for (const set of ['CapBnd', 'CapEff', 'CapPrm']) assert.equal(BigInt(`0x${value(set)}`), mask, set);
  });

  it('lets root and group weft talk to the agent, and keeps its state from all others', async () => {
    const paths = '/run/weft /run/weft/weft.sock /var/lib/weft /var/lib/weft/lock';
    assert.deepEqual(lines(await machine.shell(`stat -c '%n %U:%G %a' ${paths}`)), [
      '/run/weft root:root 755',
      '/run/weft/weft.sock root:weft 660',
      '/var/lib/weft root:root 700',
      '/var/lib/weft/lock root:root 600',
    ]);
    const nobody = ['--reuid', '65534', '--regid', '65534'];
    await machine.exec('setpriv', [...nobody, '--groups', 'weft', 'weft', 'status']);
    const refused = await machine.exec('setpriv', [...nobody, '--clear-groups', 'weft', 'status'], { check: false });
    assert.equal(refused.exitCode, 3, refused.stderr);
  });

  it('gets a cluster with sandboxes that see each other', async () => {
    await installed.weft('init', '--advertise-addr', ADDRESS);
    for (const name of ['frontend', 'backend']) await installed.weft('network', 'create', name);
    one = await installed.createSandbox('one', ['frontend', 'backend']);
    two = await installed.createSandbox('two', ['frontend', 'backend']);
    for (const network of ['frontend', 'backend']) await installed.reach(one, addressOf(two, network));
    // Through docker_gwbridge.
    await installed.reach(one, ADDRESS);
    const found = await installed.weft('sandbox', 'exec', 'one', '--', 'getent', 'ahostsv4', 'two.frontend');
    assert.ok(found.startsWith(`${addressOf(two, 'frontend')} `), found);
  });

  it('has the namespaces in its own /run/netns, for all to list', async () => {
    const names = (await installed.namespaces()).map((line) => line.split(' ')[0]);
    for (const path of ['/run/netns/weft', one.NetnsPath, two.NetnsPath]) assert.ok(names.includes(path), path);
    const links = await machine.shell('ip -n weft -o link');
    // ingress, frontend, backend.
    for (const kind of ['wb', 'wx']) assert.equal(links.match(new RegExp(`: ${kind}[0-9a-z]+[:@]`, 'g'))?.length, 3);
    assert.equal((await machine.shell('stat -c %a /run/netns')).trim(), '755');
  });

  it('can give away a namespace by its path, or by a process of another user', async () => {
    await machine.exec('ip', ['netns', 'add', 'blue']);
    const byPath = await installed.createSandbox('by-path', ['frontend'], '--netns', '/run/netns/blue');
    const user = ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'];
    const foreign = ['--net', ...user, 'bash', '-c', 'echo there; exec sleep infinity'];
    const holder = await machine.spawn('unshare', foreign);
    await holder.says(/^there$/m);
    const byPid = await installed.createSandbox('by-pid', ['frontend'], '--pid', String(holder.innerPid));
    for (const sandbox of [byPath, byPid]) await installed.reach(one, addressOf(sandbox, 'frontend'));
    await installed.weft('sandbox', 'rm', 'by-path', 'by-pid');
    await holder.end('SIGKILL');
    await machine.exec('ip', ['netns', 'del', 'blue']);
    const config = JSON.stringify({ cniVersion: '1.1.0', name: 'frontend', type: 'weft' });
    assert.equal(await machine.shell(`echo '${config}' | CNI_COMMAND=STATUS /opt/cni/bin/weft`), '');
  });

  it('starts a killed agent again; nobody notices', async () => {
    await installed.uninterrupted(one, addressOf(two, 'frontend'), async () => {
      await machine.shell(`kill -KILL ${await installed.unit('MainPID')}`);
    });
    assert.equal(await installed.unit('NRestarts'), '1');
  });

  it('restarts the agent when told to; nobody notices', async () => {
    await installed.uninterrupted(one, addressOf(two, 'frontend'), async () => {
      await machine.exec('systemctl', ['restart', 'weft.service'], { timeoutMs: 30_000 });
    });
  });

  it('has the agent read its configuration again when told to', async () => {
    await machine.exec('systemctl', ['reload', 'weft.service'], { timeoutMs: 30_000 });
    assert.equal(await installed.unit('ReloadResult'), 'success');
    const main = await installed.unit('MainPID');
    await machine.shell('echo "drift: sometimes" >>/etc/weft/agent.yaml');
    const { exitCode } = await machine.exec('systemctl', ['reload', 'weft.service'], {
      check: false,
      timeoutMs: 30_000,
    });
    assert.notEqual(exitCode, 0);
    await machine.shell('sed -i "/^drift: sometimes$/d" /etc/weft/agent.yaml; systemctl reload weft.service');
    assert.equal(await installed.unit('MainPID'), main);
  });

  it('replaces an agent that hangs; nobody notices', async () => {
    const dropIn = '/run/systemd/system/weft.service.d';
    await machine.shell(`mkdir -p ${dropIn}; printf '[Service]\\nWatchdogSec=2\\n' >${dropIn}/watchdog.conf`);
    await machine.shell('systemctl daemon-reload; systemctl restart weft.service');
    await installed.uninterrupted(one, addressOf(two, 'frontend'), async (journal) => {
      await machine.shell(`kill -STOP ${await installed.unit('MainPID')}`);
      await journal.says(/^weft\.service: Watchdog timeout/m, 20_000);
    });
    await machine.shell(`rm -r ${dropIn}; systemctl daemon-reload`);
  });

  it('stops the agent cleanly; forwarding stays, and a start finds it as it was', async () => {
    await installed.uninterrupted(one, addressOf(two, 'frontend'), async () => {
      const before = await installed.namespaces();
      await machine.exec('systemctl', ['stop', 'weft.service'], { timeoutMs: 30_000 });
      const end = await Promise.all(['ActiveState', 'Result', 'ExecMainStatus'].map((key) => installed.unit(key)));
      assert.deepEqual(end, ['inactive', 'success', '0']);
      assert.deepEqual(await installed.namespaces(), before);
      // The mark of who switched forwarding on; see RuntimeDirectoryPreserve= of the unit.
      await machine.exec('test', ['-s', '/run/weft/ip-forward']);
      await installed.reach(two, addressOf(one, 'backend'));
      await machine.exec('systemctl', ['start', 'weft.service'], { timeoutMs: 30_000 });
    });
  });

  it("holds the socket of Docker's plugin while there is no agent, and starts one when Docker asks", async () => {
    const path = '/run/docker/plugins/weft.sock';
    const ask = `require('node:http').request({ socketPath: '${path}', path: '/Plugin.Activate', method: 'POST' }, (reply) =>
      reply.pipe(process.stdout)).end()`;
    await installed.uninterrupted(one, addressOf(two, 'frontend'), async () => {
      await machine.exec('systemctl', ['stop', 'weft.service'], { timeoutMs: 30_000 });
      assert.equal((await machine.exec('stat', ['-c', '%a %U', path])).stdout.trim(), '600 root');
      const { stdout } = await machine.exec('node', ['-e', ask], { timeoutMs: 30_000 });
      assert.deepEqual(JSON.parse(stdout), { Implements: ['NetworkDriver', 'IpamDriver'] });
      assert.equal(await installed.unit('ActiveState'), 'active');
    });
  });

  it('has heard of no refusal and no trouble', async () => {
    const said = lines(await machine.shell('journalctl --no-pager -u weft.service -o cat'));
    const bad = said.filter((line) =>
      /not permitted|denied|read-only file system|EPERM|EACCES|EROFS|"level":[456]0/i.test(line),
    );
    assert.deepEqual(bad, []);
    assert.ok(said.some((line) => line.includes('the agent is ready')));
  });

  it('keeps settings, state and forwarding when Weft is uninstalled', async () => {
    await machine.exec(INSTALL, ['--uninstall'], { timeoutMs: 60_000 });
    await machine.exec('test', ['-e', '/etc/weft/agent.yaml']);
    await machine.exec('test', ['-e', '/var/lib/weft/store']);
    assert.equal(await installed.unit('LoadState'), 'not-found');
    await installed.reach(one, addressOf(two, 'frontend'));
  });

  it('has no file of Weft after an uninstall with --purge', async () => {
    await machine.exec(INSTALL, ['--uninstall', '--purge'], { timeoutMs: 60_000 });
    // groupadd's back-ups. The group stays: files may belong to it.
    const kept = new Set(['/etc/group-', '/etc/gshadow-']);
    const there = lines((await machine.exec('find', FIND)).stdout);
    const left = there.filter((path) => !kept.has(path) && (laid.includes(path) || /weft|\/core[^/]*$/.test(path)));
    assert.deepEqual(
      left.filter((path) => !bare.has(path)),
      [],
    );
    const directories = await machine.shell("find / -xdev -type d -name '*weft*' -not -path /mnt/weft");
    assert.equal(directories, '');
    assert.equal((await machine.exec('systemctl', ['is-system-running'], { check: false })).stdout.trim(), 'running');
  });
});
