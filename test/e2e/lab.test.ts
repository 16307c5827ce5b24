import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { setClock, Watcher, wallClockMs } from '../bench/watch.ts';
import { AgentExit } from '../lab/agent.ts';
import { diffKernel } from '../lab/kernel.ts';
import { Lab, OUTSIDE } from '../lab/lab.ts';
import { parsePing, pingArgs } from '../lab/ping.ts';
import { allPids, eventually, exec, within } from '../lab/process.ts';
import { labDirectory, processesOf, sweep } from '../lab/sweep.ts';

const STANDIN = [process.execPath, fileURLToPath(new URL('../lab/tools/standin.mjs', import.meta.url))];
const TCP = fileURLToPath(new URL('../lab/tools/tcp.mjs', import.meta.url));

async function reaches(lab: Lab, from: number, address: string): Promise<boolean> {
  const args = pingArgs(address, { count: 2, intervalMs: 20, waitMs: 300 });
  const { stdout, stderr } = await lab.host(from).exec('ping', args, { check: false });
  return parsePing(stdout + stderr).received > 0;
}

/** Network namespaces on the machine, by the processes in them. */
function networkNamespaces(): Set<string> {
  return new Set(
    allPids().flatMap((pid) => {
      try {
        return [readlinkSync(`/proc/${pid}/ns/net`)];
      } catch {
        return [];
      }
    }),
  );
}

describe('the lab', () => {
  let lab: Lab;
  before(async () => {
    lab = await Lab.create({ hosts: 3, program: STANDIN });
  });
  after(() => lab[Symbol.asyncDispose]());

  it('gives each host its own name, address, process ids and directories', async () => {
    for (const host of lab.hosts) {
      assert.equal((await host.exec('hostname')).stdout.trim(), `host${host.index}`);
      assert.match(
        (await host.exec('ip', ['-4', 'address', 'show', 'eth0'])).stdout,
        new RegExp(`inet ${host.address}/24`),
      );
      assert.match((await host.exec('ls', ['/sys/class/net'])).stdout, /eth0/);
      assert.equal((await host.exec('ls', ['/run/netns'])).stdout, '');
      await host.exec('touch', [`/var/lib/weft/of-host${host.index}`]);
      assert.equal((await host.exec('ls', ['/var/lib/weft'])).stdout.trim(), `of-host${host.index}`);
      assert.equal((await host.exec('ls', ['/etc/weft'])).stdout, '');
    }
    assert.deepEqual(readdirSync(`${labDirectory(lab.id)}/host2/lib`), ['of-host2']);
  });

  it('keeps what a host does to /etc and /run from the machine', async () => {
    const mine = readFileSync('/etc/hostname', 'utf8');
    await lab
      .host(1)
      .exec('tee', ['/etc/hostname', '/etc/weft-lab-was-here', '/run/weft-lab-was-here'], { input: 'x' });
    assert.equal(readFileSync('/etc/hostname', 'utf8'), mine);
    assert.equal(existsSync('/etc/weft-lab-was-here') || existsSync('/run/weft-lab-was-here'), false);
  });

  it('connects hosts with each other and with the outside', async () => {
    assert.equal(await reaches(lab, 1, lab.host(2).address), true);
    assert.equal(await reaches(lab, 3, OUTSIDE.address), true);
    const { stdout } = await lab.host(2).exec(process.execPath, [TCP, 'read', OUTSIDE.address, String(OUTSIDE.port)]);
    assert.equal(stdout.trim(), lab.host(2).address);
  });

  it('makes named network namespaces that later programs of the host see', async () => {
    await lab.host(1).exec('ip', ['netns', 'add', 'red']);
    assert.match((await lab.host(1).exec('ip', ['netns', 'list'])).stdout, /red/);
    const own = await lab.host(1).exec('readlink', ['/proc/self/ns/net']);
    const red = await lab.host(1).execIn('/run/netns/red', 'readlink', ['/proc/self/ns/net']);
    assert.notEqual(own.stdout, red.stdout);
    assert.equal((await lab.host(2).exec('ls', ['/run/netns'])).stdout, '');
    await lab.host(1).exec('ip', ['netns', 'delete', 'red']);
  });

  it('cuts the underlay between groups, and heals it', async () => {
    await lab.partition([lab.host(1)], [lab.host(2), lab.host(3)]);
    assert.equal(await reaches(lab, 1, lab.host(2).address), false);
    assert.equal(await reaches(lab, 3, lab.host(1).address), false);
    assert.equal(await reaches(lab, 2, lab.host(3).address), true);
    await lab.partition([lab.host(3)], [lab.host(2)]);
    assert.equal(await reaches(lab, 1, lab.host(2).address), true);
    assert.equal(await reaches(lab, 2, lab.host(3).address), false);
    await lab.heal();
    assert.equal(await reaches(lab, 2, lab.host(3).address), true);
  });

  it('pulls one host off the underlay, and its addresses and routes stay', async () => {
    const before = await lab.host(2).kernel();
    await lab.host(2).linkDown();
    assert.equal(await reaches(lab, 2, lab.host(1).address), false);
    assert.deepEqual(diffKernel(before, await lab.host(2).kernel()), []);
    await lab.host(2).linkUp();
    await eventually('host2 to answer again', async () => (await reaches(lab, 1, lab.host(2).address)) || undefined);
  });

  it('sees in a dump what changed, and nothing when nothing did', async () => {
    const host = lab.host(1);
    await host.exec('ip', ['netns', 'add', 'weft']);
    await host.exec('ip', ['-n', 'weft', '-batch', '-'], {
      input: `link add br4097 type bridge\nlink set br4097 up\n`,
    });
    await host.exec('ip', ['-batch', '-'], {
      input: `link add vx4097 netns weft mtu 1450 type vxlan id 4097 dstport 4789 local ${host.address} nolearning proxy\n`,
    });
    await host.exec('ip', ['-n', 'weft', 'link', 'set', 'vx4097', 'master', 'br4097', 'up']);
    const before = await host.kernel();
    const vxlan = before.weft?.links.find((link) => link.name === 'vx4097');
    assert.deepEqual([vxlan?.kind, vxlan?.mtu, vxlan?.master, vxlan?.info['id']], ['vxlan', 1450, 'br4097', 4097]);
    assert.deepEqual(diffKernel(before, await host.kernel()), []);

    const mac = '02:42:0a:00:01:05';
    await host.exec('bridge', [
      '-n',
      'weft',
      'fdb',
      'replace',
      mac,
      'dev',
      'vx4097',
      'dst',
      '10.99.0.2',
      'self',
      'permanent',
    ]);
    const neighbour = ['neigh', 'replace', '10.0.1.5', 'lladdr', mac, 'dev', 'vx4097', 'nud', 'permanent'];
    await host.exec('ip', ['-n', 'weft', ...neighbour]);
    await host.exec('nft', ['-f', '-'], { input: 'table inet weft {\nchain a {\ncounter accept\n}\n}\n' });
    const after = await host.kernel();
    assert.deepEqual(after.weft?.fdb, [`vx4097 ${mac} dst 10.99.0.2`]);
    assert.deepEqual(after.weft?.neighbours, [`vx4097 10.0.1.5 lladdr ${mac}`]);
    assert.equal(diffKernel(before, after).filter((line) => line.startsWith('+ /weft/')).length, 2);
    assert.equal(diffKernel(before, after).filter((line) => line.startsWith('+ /nft')).length, 3);
    await host.exec('ip', ['netns', 'delete', 'weft']);
    await host.exec('nft', ['flush', 'ruleset']);
  });

  it('tells when the kernel of a host changed, by the clock of the test', async () => {
    const host = lab.host(3);
    await host.exec('ip', ['netns', 'add', 'weft']);
    const vxlan = `link add vx1 netns weft type vxlan id 4097 dstport 4789 local ${host.address} nolearning\n`;
    await host.exec('ip', ['-batch', '-'], { input: vxlan });
    await host.exec('ip', ['-n', 'weft', 'link', 'set', 'vx1', 'up']);
    const watcher = await Watcher.start(host);
    const mac = '02:42:0a:00:01:07';
    setClock();
    const before = wallClockMs();
    const neighbour = watcher.when('came', '10.0.1.7', mac, 5_000);
    await host.exec('ip', [
      '-n',
      'weft',
      'neigh',
      'replace',
      '10.0.1.7',
      'lladdr',
      mac,
      'dev',
      'vx1',
      'nud',
      'permanent',
    ]);
    await host.exec('bridge', [
      '-n',
      'weft',
      'fdb',
      'replace',
      mac,
      'dev',
      'vx1',
      'dst',
      '10.99.0.1',
      'self',
      'permanent',
    ]);
    const times = [await neighbour, await watcher.when('came', '10.99.0.1', mac, 5_000)];
    const after = wallClockMs();
    for (const at of times) assert.ok(at > before && at < after, `${before} < ${at} < ${after}`);
    await host.exec('bridge', ['-n', 'weft', 'fdb', 'delete', mac, 'dev', 'vx1', 'dst', '10.99.0.1', 'self']);
    assert.ok((await watcher.when('gone', '10.99.0.1', mac, 5_000)) > after - 1000);
    await watcher.stop();
    await host.exec('ip', ['netns', 'delete', 'weft']);
  });

  it('starts an agent, stops it gracefully, kills it, starts it again', async () => {
    const host = lab.host(1);
    const agent = await host.startAgent({ config: { log: { level: 'debug' } } });
    assert.equal((await host.exec('cat', ['/etc/weft/agent.yaml'])).stdout.includes('debug'), true);
    assert.deepEqual(await host.api.call('status'), {});
    await assert.rejects(host.startAgent(), /has an agent already/);
    assert.equal(await host.stopAgent(), 0);
    assert.match(host.agentLog, /ready[\s\S]*stopping/);

    await host.startAgent();
    assert.notEqual(host.agent.pid, agent.pid);
    await host.killAgent();
    assert.equal(host.agent.running, false);
    // The dead agent's socket file is still there: it must not count as an answer.
    assert.equal(existsSync(host.socketPath), true);
    await host.startAgent();
    assert.equal(host.agent.running, true);
    await host.stopAgent();
  });

  it('says why an agent did not come up', async () => {
    await assert.rejects(lab.host(1).startAgent({ args: ['--crash'] }), (error: unknown) => {
      assert.ok(error instanceof AgentExit);
      assert.match(error.message, /exit code 3\n[\s\S]*told to crash/);
      return true;
    });
  });

  it('runs the CLI on the host', async () => {
    const said = await lab.host(2).weftJson<{ verb: string; args: string[]; hostname: string }>('network', 'ls');
    assert.deepEqual(said, { verb: 'network', args: ['ls', '--json'], hostname: 'host2' });
    const split = await lab.host(2).weftJson<{ args: string[] }>('sandbox', 'exec', 'a', '--', 'b');
    assert.deepEqual(split.args, ['exec', 'a', '--json', '--', 'b']);
  });

  it('writes scripts that put a person on a host', async () => {
    const [, second = ''] = lab.writeScripts();
    const said = await exec(second, ['weft', 'status', 'a b']);
    assert.deepEqual(JSON.parse(said.stdout), { verb: 'status', args: ['a b'], hostname: 'host2' });
    assert.equal((await exec(second, [], { input: 'hostname\n' })).stdout, 'host2\n');
  });

  it('ends a command and what it started when its time is up', async () => {
    const slow = lab.host(1).exec('bash', ['-c', 'sleep 321 & sleep 321'], { timeoutMs: 200 });
    await assert.rejects(slow, /still running after 200 ms, killed/);
    await eventually('the sleepers to be gone', async () => {
      const { stdout } = await lab.host(1).exec('bash', ['-c', 'cat /proc/[0-9]*/cmdline | tr "\\0" " "']);
      return stdout.includes('sleep 321') ? undefined : true;
    });
  });
});

describe('the end of a lab', () => {
  it('leaves no process, namespace or directory, and several can be there at once', async () => {
    const before = networkNamespaces();
    const ids: string[] = [];
    {
      await using a = await Lab.create({ hosts: 2, program: STANDIN });
      await using b = await Lab.create({ hosts: 2, program: STANDIN });
      ids.push(a.id, b.id);
      await Promise.all([a.startAgents(), b.startAgents()]);
      await a.host(1).spawn('sleep', ['1000']);
      assert.equal(await reaches(a, 1, a.host(2).address), true);
      await a.partition([a.host(1)], [a.host(2)]);
      assert.equal(await reaches(b, 1, b.host(2).address), true);
      assert.ok(processesOf(a.id).length >= 6);
    }
    for (const id of ids) {
      assert.deepEqual(processesOf(id), []);
      assert.equal(existsSync(labDirectory(id)), false);
    }
    const added = [...networkNamespaces()].filter((namespace) => !before.has(namespace));
    assert.deepEqual(added, []);
  });

  for (const signal of ['SIGKILL', 'SIGTERM', 'SIGINT'] as const) {
    it(`comes with the end of its process by ${signal}`, async () => {
      const script = fileURLToPath(new URL('../lab/tools/hold.ts', import.meta.url));
      const owner = spawn(process.execPath, ['--import', 'tsx', script, ...STANDIN], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      owner.stdout.setEncoding('utf8');
      const exited = once(owner, 'exit');
      const [line] = (await within(once(owner.stdout, 'data'), 20_000, 'the lab to be up')) as [string];
      const id = line.trim();
      assert.ok(processesOf(id).length >= 6, `${processesOf(id).length} processes`);
      owner.kill(signal);
      assert.equal((await within(exited, 5_000, 'its end'))[1], signal);
      await eventually('its processes to be gone', () => processesOf(id).length === 0 || undefined);
      if (signal === 'SIGKILL') assert.deepEqual(sweep().includes(id), true);
      assert.equal(existsSync(labDirectory(id)), false);
    });
  }

  it('leaves what is not a lab of a dead process alone', async () => {
    await using lab = await Lab.create({ hosts: 1, program: STANDIN });
    const other = labDirectory('weft-lab-notes');
    mkdirSync(other, { recursive: true });
    assert.deepEqual(sweep().includes(lab.id), false);
    assert.equal(existsSync(labDirectory(lab.id)) && existsSync(other), true);
    rmdirSync(other);
  });
});
