import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ask } from '../lab/answers.ts';
import type { Host } from '../lab/host.ts';
import { diffKernel, type KernelDump } from '../lab/kernel.ts';
import { OUTSIDE } from '../lab/lab.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

const PLUGIN = fileURLToPath(new URL('../../deploy/cni/weft', import.meta.url));
const ANSWER = fileURLToPath(new URL('../lab/tools/answer.mjs', import.meta.url));
const config = { cniVersion: '1.1.0', name: 'net-a', type: 'weft', network: 'front' };
const second = { ...config, name: 'net-b', network: 'back' };

/** A result as the specification has it, as far as it is looked at here. */
interface Result {
  readonly interfaces: { readonly name: string; readonly mac: string; readonly sandbox: string }[];
  readonly ips: { readonly interface: number; readonly address: string }[];
  readonly routes: { readonly dst: string; readonly gw: string }[];
  readonly dns: { readonly nameservers: string[] };
}

interface Failure {
  readonly code: number;
  readonly msg: string;
}

/** A container, as far as the network is concerned. */
class Container {
  readonly host: Host;
  readonly id: string;
  readonly netns: string;
  readonly end: () => Promise<unknown>;

  private constructor(host: Host, id: string, netns: string, end: () => Promise<unknown>) {
    this.host = host;
    this.id = id;
    this.netns = netns;
    this.end = end;
  }

  /** Its namespace has a name, as those of Podman and containerd. */
  static async named(host: Host, id: string): Promise<Container> {
    await host.exec('ip', ['netns', 'add', id]);
    return new Container(host, id, `/run/netns/${id}`, () => host.exec('ip', ['netns', 'delete', id]));
  }

  /** Its namespace is there as long as its process. */
  static async running(host: Host, id: string): Promise<Container> {
    const process = await host.spawn('unshare', ['--net', 'bash', '-c', 'echo here; exec sleep 600']);
    await process.says(/here/);
    return new Container(host, id, `/proc/${process.innerPid}/ns/net`, () => process.end('SIGKILL'));
  }

  async call(
    command: string,
    { stdin = config, ifName = 'eth0', args = '' }: { stdin?: object; ifName?: string; args?: string } = {},
  ): Promise<{ exitCode: number; stdout: string }> {
    const env = {
      ...{ CNI_COMMAND: command, CNI_CONTAINERID: this.id, CNI_NETNS: this.netns, CNI_IFNAME: ifName },
      ...{ CNI_ARGS: args, CNI_PATH: '/opt/cni/bin' },
    };
    const { exitCode, stdout, stderr } = await this.host.exec(PLUGIN, [], {
      ...{ env, input: JSON.stringify(stdin), check: false, timeoutMs: 60_000 },
    });
    assert.equal(stderr, '');
    return { exitCode, stdout };
  }

  async done(command: string, options: Parameters<Container['call']>[1] = {}): Promise<Result> {
    const { exitCode, stdout } = await this.call(command, options);
    assert.equal(exitCode, 0, stdout);
    if (command !== 'ADD') assert.equal(stdout, '');
    return (stdout === '' ? {} : JSON.parse(stdout)) as Result;
  }

  async fails(code: number, command: string, options: Parameters<Container['call']>[1] = {}): Promise<string> {
    const { exitCode, stdout } = await this.call(command, options);
    const failure = JSON.parse(stdout) as Failure;
    assert.deepEqual([exitCode, failure.code], [1, code], stdout);
    return failure.msg;
  }

  ip(...args: string[]): Promise<string> {
    return this.host.execIn(this.netns, 'ip', args).then(({ stdout }) => stdout);
  }

  async reaches(address: string): Promise<boolean> {
    const args = ['-c1', '-W1', address];
    return (await this.host.execIn(this.netns, 'ping', args, { check: false })).exitCode === 0;
  }
}

const addressIn = ({ ips }: Result): string => ips[0]?.address.replace(/\/.*/, '') ?? '';

describe('the CNI plugin, on two hosts', () => {
  const stage = useLab({ hosts: 2 });
  const one = (): Host => stage.lab.host(1);
  const two = (): Host => stage.lab.host(2);
  let a: Container;
  let b: Container;
  let bare: readonly KernelDump[];

  const kernels = (): Promise<KernelDump[]> => Promise.all([one().kernel(), two().kernel()]);
  const same = async (): Promise<boolean> => {
    const found = (await kernels()).flatMap((now, at) => diffKernel(bare[at] ?? now, now));
    if (found.length > 0) throw new Error(found.join('; '));
    return true;
  };

  it('adds containers, which reach each other by the interfaces that were asked for', async () => {
    await one().weftJson('network', 'create', '--subnet', '10.77.0.0/24', 'front');
    await one().weftJson('network', 'create', '--internal', 'back');
    await settled(stage.lab);
    bare = await kernels();
    [a, b] = [await Container.named(one(), 'web-1'), await Container.running(two(), 'db-1')];
    await a.done('STATUS');
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }];
    const [first, other] = await Promise.all([
      a.done('ADD', {
        args: 'IgnoreUnknown=1;K8S_POD_NAME=web',
        stdin: { ...config, runtimeConfig: { portMappings } },
      }),
      b.done('ADD', {
        ifName: 'net0',
        args: 'IP=10.77.0.200;MAC=02:00:00:77:00:02',
        stdin: { ...config, runtimeConfig: { aliases: { 'net-a': ['db', 'store'] } } },
      }),
    ]);
    assert.deepEqual(other.interfaces, [{ name: 'net0', mac: '02:00:00:77:00:02', sandbox: b.netns }]);
    assert.deepEqual(other.ips, [{ interface: 0, address: '10.77.0.200/24' }]);
    assert.match(await b.ip('-o', 'link', 'show', 'net0'), /02:00:00:77:00:02/);
    assert.match(await b.ip('-o', '-4', 'address', 'show', 'net0'), /10\.77\.0\.200\/24/);
    assert.match(await b.ip('route', 'show', 'default'), new RegExp(`via ${other.routes[0]?.gw} dev gw0`));
    // The agent's own, which knows the names of containers.
    assert.deepEqual(first.dns.nameservers, [first.routes[0]?.gw]);
    await settled(stage.lab);
    assert.equal(await a.reaches(addressIn(other)), true);
    assert.equal(await b.reaches(addressIn(first)), true);
    const known = await one().api.call('endpointList', { query: { network: 'front' } });
    assert.deepEqual(known.map(({ Name: name, Aliases: aliases }) => [name, ...aliases]).sort(), [
      ['cni-db-1', 'db', 'store'],
      ['cni-web-1', 'web'],
    ]);
    const args = [`--net=${a.netns}`, '--', process.execPath, ANSWER, 'web', '80'];
    const answering = await one().spawn('nsenter', args);
    await answering.says(/^listening$/m);
    assert.equal(await ask(two(), one().address, 8080), `web ${two().address}`);
    await answering.end('SIGKILL');
    await a.done('CHECK', { stdin: { ...config, prevResult: first } });
    const moved = { ...first, ips: other.ips };
    assert.match(await a.fails(101, 'CHECK', { stdin: { ...config, prevResult: moved } }), /had 10\.77\.0\.200\/24/);
  });

  it('puts a container on a second network, and takes it off again', async () => {
    const [onA, onB] = [
      await a.done('ADD', { stdin: second, ifName: 'eth1' }),
      await b.done('ADD', { stdin: second, ifName: 'net1' }),
    ];
    assert.equal((await one().api.call('sandboxList')).filter(({ Name: name }) => name.startsWith('cni-')).length, 1);
    await settled(stage.lab);
    assert.equal(await a.reaches(addressIn(onB)), true);
    assert.equal(await b.reaches(addressIn(onA)), true);
    assert.match(await a.fails(100, 'ADD', { stdin: second, ifName: 'eth1' }), /has an interface eth1 already/);
    assert.match(await a.fails(100, 'ADD', { stdin: second, ifName: 'eth2' }), /is already on network back/);
    await a.done('DEL', { stdin: second, ifName: 'eth1' });
    await a.done('DEL', { stdin: second, ifName: 'eth1' });
    assert.doesNotMatch(await a.ip('-o', 'link'), /eth1/);
    assert.equal(await a.reaches('10.77.0.200'), true, 'the first network is untouched');
  });

  it('that fails leaves nothing behind, and says why', async () => {
    await settled(stage.lab);
    const before = await kernels();
    const c = await Container.named(one(), 'c-1');
    assert.match(await c.fails(100, 'ADD', { args: 'IP=10.77.0.200' }), /10\.77\.0\.200/);
    assert.match(await c.fails(100, 'ADD', { args: 'MAC=02:00:00:77:00:02' }), /is the MAC address of cni-db-1/);
    assert.match(await c.fails(7, 'ADD', { stdin: { ...config, network: 'nowhere' } }), /network nowhere not found/);
    assert.match(await c.fails(100, 'ADD', { ifName: 'lo' }), /has an interface lo already/);
    const ports = { portMappings: [{ hostPort: 8081, containerPort: 80 }] };
    assert.match(
      await c.fails(7, 'ADD', { stdin: { ...second, runtimeConfig: ports } }),
      /no port of sandbox cni-c-1 can be published: none of its networks leads out/,
    );
    assert.match(await c.fails(50, 'STATUS', { stdin: { ...config, network: 'nowhere' } }), /not known here/);
    assert.match(await c.ip('-o', 'link'), /^1: lo[^\n]*\n$/);
    await c.end();
    assert.match(await c.fails(4, 'ADD'), /\/run\/netns\/c-1 is not there/);
    assert.deepEqual(
      (await kernels()).map((now, at) => diffKernel(before[at] ?? now, now)),
      [[], []],
    );
  });

  it('puts containers on networks of one host alone, where those make interfaces', async () => {
    const before = await one().kernel();
    await one().weftJson('network', 'create', '-d', 'bridge', 'lan');
    const c = await Container.named(one(), 'c-1');
    const lan = { ...config, name: 'lan', network: 'lan' };
    assert.match(await c.fails(7, 'ADD', { stdin: { ...lan, network: 'none' } }), /gives a sandbox no interface/);
    const added = await c.done('ADD', { stdin: lan, ifName: 'net9', args: 'MAC=02:00:00:77:00:09' });
    assert.deepEqual(added.interfaces, [{ name: 'net9', mac: '02:00:00:77:00:09', sandbox: c.netns }]);
    assert.match(await c.ip('-o', 'link', 'show', 'net9'), /02:00:00:77:00:09/);
    assert.equal(await c.reaches(OUTSIDE.address), true);
    await c.done('CHECK', { stdin: { ...lan, prevResult: added }, ifName: 'net9' });
    await c.done('DEL', { stdin: lan, ifName: 'net9' });
    await c.end();
    assert.equal((await one().weft('network', 'rm', 'lan')).exitCode, 0);
    assert.deepEqual(diffKernel(before, await one().kernel()), []);
  });

  it('deletes containers whose namespace has gone, and begins anew for one that comes back', async () => {
    await b.end();
    b = await Container.running(two(), 'db-1');
    const again = await b.done('ADD');
    await settled(stage.lab);
    assert.equal(await a.reaches(addressIn(again)), true);
    await b.done('ADD', { stdin: second, ifName: 'eth1' });
    await b.end();
    const gone = await b.fails(101, 'CHECK', { stdin: { ...config, prevResult: again } });
    // The agent may have seen to it already.
    assert.match(gone, /namespace \/proc\/\d+\/ns\/net is gone|has no interface/);
    await b.done('DEL');
    await b.done('DEL', { stdin: second, ifName: 'eth1' });
    await b.done('DEL');
    assert.equal((await two().api.call('sandboxList')).filter(({ Name: name }) => name.startsWith('cni-')).length, 0);
  });

  it('collects what a runtime has forgotten', async () => {
    const [c, d] = [await Container.named(one(), 'c-1'), await Container.named(one(), 'd-1')];
    for (const each of [c, d]) await each.done('ADD');
    await d.done('ADD', { stdin: second, ifName: 'eth1' });
    const valid = [{ containerID: 'web-1', ifname: 'eth0' }];
    await a.done('GC', { stdin: { ...config, 'cni.dev/valid-attachments': valid } });
    const left = (await one().api.call('sandboxList')).filter(({ Name: name }) => name.startsWith('cni-'));
    assert.deepEqual(
      left.map(({ Name: name, Networks: on }) => [name, ...on.map(({ Network: network }) => network)]).sort(),
      [
        ['cni-d-1', 'back'],
        ['cni-web-1', 'front'],
      ],
    );
    await d.done('DEL', { stdin: second, ifName: 'eth1' });
    for (const each of [c, d]) {
      assert.match(await each.ip('-o', 'link'), /^1: lo[^\n]*\n$/);
      await each.end();
    }
  });

  it('says to come again while there is no agent, and the agent removes what has ended meanwhile', async () => {
    const c = await Container.running(one(), 'e-1');
    await c.done('ADD');
    await one().killAgent();
    assert.match(await a.fails(11, 'DEL'), /no agent is running at \/run\/weft\/weft\.sock: start it/);
    assert.match(await a.fails(50, 'STATUS'), /no agent is running/);
    await c.end();
    await one().startAgent();
    await eventually('the sandbox of the container that ended to be removed', async () => {
      const names = (await one().api.call('sandboxList')).map(({ Name: name }) => name);
      return !names.includes('cni-e-1') && names.includes('cni-web-1') ? true : undefined;
    });
    await settled(stage.lab);
  });

  it('leaves nothing behind', async () => {
    await a.done('DEL');
    assert.match(await a.ip('-o', 'link'), /^1: lo[^\n]*\n$/);
    await a.end();
    await settled(stage.lab);
    assert.deepEqual(await one().api.call('endpointList', { query: { network: 'front' } }), []);
    await eventually('both kernels to be as before', same);
  });
});
