import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import type { Sandbox } from '../../../agent/api/schema.ts';
import { FakeAgent } from '../cli/fake-agent.ts';
import { keepSandboxes } from './agent-model.ts';
import { type Answer, cni } from './call.ts';

const netns = '/run/netns/one';
const config = { cniVersion: '1.1.0', name: 'frontend', type: 'weft' };
const back = { ...config, name: 'backend', network: 'blue' };
const of = (command: string, ifName = 'eth0', id = 'web-1') => ({
  ...{ CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: netns, CNI_IFNAME: ifName, CNI_PATH: '/opt/cni/bin' },
});

let agent: FakeAgent;
let sandboxes: Map<string, Sandbox>;
before(async () => {
  agent = await FakeAgent.start();
});
beforeEach(() => {
  agent.answers.clear();
  agent.seen.length = 0;
  sandboxes = keepSandboxes(agent);
});
after(() => agent[Symbol.asyncDispose]());

const call = (env: ReturnType<typeof of>, stdin: unknown): Promise<Answer> => cni(agent.socketPath, env, stdin);
const asked = (name: string): unknown[] =>
  agent.seen.filter((each) => each.name === name).map(({ body, path }) => body ?? path);
async function done(env: ReturnType<typeof of>, stdin: unknown): Promise<Answer['json']> {
  const { exitCode, json } = await call(env, stdin);
  assert.equal(exitCode, 0, JSON.stringify(json));
  return json;
}
async function fails(code: number, env: ReturnType<typeof of>, stdin: unknown): Promise<string> {
  const { exitCode, json } = await call(env, stdin);
  assert.deepEqual([exitCode, json?.['code']], [1, code], JSON.stringify(json));
  assert.equal(json?.['cniVersion'], '1.1.0');
  return `${json?.['msg']}; ${json?.['details'] ?? ''}`;
}

describe('a container on several networks', () => {
  it('is one sandbox, made by the first ADD, removed by the last DEL', async () => {
    await done(of('ADD'), config);
    const second = await done(of('ADD', 'net1'), back);
    assert.deepEqual(second?.['interfaces'], [{ name: 'net1', mac: '02:42:0a:00:01:02', sandbox: netns }]);
    assert.deepEqual(second?.['ips'], [{ interface: 0, address: '10.0.2.2/24' }]);
    assert.deepEqual(second?.['routes'], [], 'the way out came with the first');
    assert.deepEqual(asked('networkConnect'), [
      { Sandbox: 'id-cni-web-1', Interface: 'net1', Labels: { 'weft.cni.attachment.net1': 'backend' } },
    ]);
    await done(of('DEL'), back);
    assert.equal(sandboxes.get('cni-web-1')?.Networks.length, 2, 'eth0 is not of that configuration');
    await done(of('DEL'), config);
    assert.deepEqual(
      sandboxes.get('cni-web-1')?.Networks.map(({ Interface: name }) => name),
      ['net1'],
    );
    await done(of('DEL'), config);
    assert.equal(sandboxes.size, 1);
    await done(of('DEL', 'net1'), back);
    assert.equal(sandboxes.size, 0);
  });

  it('publishes the ports of the first ADD, which runtimes repeat with each', async () => {
    const portMappings = [{ hostPort: 8080, containerPort: 80, protocol: 'TCP', hostIP: '' }, { containerPort: 81 }];
    await done(of('ADD'), { ...config, runtimeConfig: { portMappings } });
    assert.deepEqual((asked('sandboxCreate')[0] as { Publish: string[] }).Publish, ['8080:80/tcp']);
    await done(of('ADD', 'net1'), { ...back, runtimeConfig: { portMappings } });
    const more = { portMappings: [{ hostPort: 9000, containerPort: 90 }] };
    assert.match(
      await fails(100, of('ADD', 'net2'), { ...back, name: 'c', runtimeConfig: more }),
      /9000:90\/tcp cannot/,
    );
  });

  it('refuses an interface twice, and another namespace, and leaves what is there', async () => {
    await done(of('ADD'), config);
    assert.match(await fails(100, of('ADD'), back), /has an interface eth0 already.*DEL it first/);
    assert.match(
      await fails(100, { ...of('ADD', 'net1'), CNI_NETNS: '/run/netns/two' }, back),
      /has namespace \/run\/netns\/one already/,
    );
    assert.equal(sandboxes.get('cni-web-1')?.Networks.length, 1);
  });

  it('that was started again after its namespace had gone begins anew', async () => {
    await done(of('ADD'), config);
    const [old] = [...sandboxes.values()];
    if (old) sandboxes.set(old.Name, { ...old, NetnsPresent: false });
    await done(of('ADD'), config);
    assert.equal(asked('sandboxRemove').length, 1);
    assert.equal(sandboxes.get('cni-web-1')?.NetnsPresent, true);
  });
});

describe('what a runtime asks for', () => {
  it('is taken from its capabilities before its arguments', async () => {
    const env = { ...of('ADD'), CNI_ARGS: 'IgnoreUnknown=1;IP=10.0.0.1;MAC=02:00:00:00:00:09;K8S_POD_NAME=web;X=y' };
    const runtimeConfig = {
      ips: ['10.0.1.7/24', 'fd00::7'],
      mac: '02:00:00:00:00:07',
      aliases: { frontend: ['www', 'web'], other: ['no'] },
      dns: { servers: ['192.0.2.53'], searches: ['corp.example'] },
    };
    await done(env, { ...config, runtimeConfig });
    const [body] = asked('sandboxCreate') as [Record<string, unknown>];
    const { IPAddress: ip, GlobalIPv6Address: ip6, MacAddress: mac, Aliases: aliases, Hostname: hostname } = body;
    assert.deepEqual([ip, ip6, mac], ['10.0.1.7', 'fd00::7', '02:00:00:00:00:07']);
    assert.deepEqual([aliases, hostname], [['web', 'www'], 'web']);
    assert.deepEqual([body['Dns'], body['DnsSearch']], [['192.0.2.53'], ['corp.example']]);
  });

  it('or from its arguments, or those of the configuration', async () => {
    await done({ ...of('ADD'), CNI_ARGS: 'IP=10.0.1.8;MAC=02:00:00:00:00:08' } as never, config);
    await done(of('ADD', 'eth0', 'b'), { ...config, args: { cni: { ips: ['10.0.1.9'] } } });
    const bodies = asked('sandboxCreate') as { IPAddress?: string; MacAddress?: string }[];
    assert.deepEqual(
      bodies.map(({ IPAddress: ip, MacAddress: mac }) => [ip, mac]),
      [
        ['10.0.1.8', '02:00:00:00:00:08'],
        ['10.0.1.9', undefined],
      ],
    );
  });

  it('has addresses with their family before 1.0.0', async () => {
    const old = await done(of('ADD'), { ...config, cniVersion: '0.3.1' });
    assert.deepEqual(
      [old?.['cniVersion'], old?.['ips']],
      ['0.3.1', [{ version: '4', interface: 0, address: '10.0.1.2/24' }]],
    );
  });
});

describe('CHECK', () => {
  it('compares the result of ADD with what the agent has', async () => {
    const prevResult = await done(of('ADD'), config);
    await done(of('CHECK'), { ...config, prevResult });
    const [sandbox] = [...sandboxes.values()];
    const [endpoint] = sandbox?.Networks ?? [];
    if (sandbox === undefined || endpoint === undefined) throw new Error('no endpoint');
    const set = (change: object) => sandboxes.set(sandbox.Name, { ...sandbox, Networks: [{ ...endpoint, ...change }] });
    set({ IPv4Address: '10.0.1.3/24' });
    assert.match(await fails(101, of('CHECK'), { ...config, prevResult }), /had 10.0.1.2\/24, and has 10.0.1.3\/24/);
    set({ MacAddress: '02:00:00:00:00:01' });
    assert.match(await fails(101, of('CHECK'), { ...config, prevResult }), /had MAC address/);
    set({ Status: 'link: refused' });
    assert.match(await fails(101, of('CHECK'), { ...config, prevResult }), /eth0: link: refused/);
    sandboxes.clear();
    assert.match(await fails(101, of('CHECK'), { ...config, prevResult }), /has no interface eth0 of frontend/);
    assert.match(await fails(7, of('CHECK'), config), /prevResult/);
  });
});

describe('GC', () => {
  it('takes away what is not valid, of its configuration alone', async () => {
    for (const id of ['a', 'b', 'c']) await done(of('ADD', 'eth0', id), config);
    await done(of('ADD', 'net1', 'c'), back);
    await done(of('ADD', 'eth0', 'd'), back);
    sandboxes.set('mine', { ...(sandboxes.get('cni-a') as Sandbox), ID: 'x', Name: 'mine', Labels: {} });
    const valid = [
      { containerID: 'a', ifname: 'eth0' },
      { containerID: 'b', ifname: 'eth7' },
    ];
    await done(of('GC'), { ...config, 'cni.dev/valid-attachments': valid });
    assert.deepEqual([...sandboxes.keys()].sort(), ['cni-a', 'cni-c', 'cni-d', 'mine']);
    assert.deepEqual(
      sandboxes.get('cni-c')?.Networks.map(({ Interface: name }) => name),
      ['net1'],
    );
    await done(of('GC'), { ...config, 'cni.dev/valid-attachments': null });
    assert.deepEqual([...sandboxes.keys()].sort(), ['cni-c', 'cni-d', 'mine']);
    assert.match(await fails(7, of('GC'), config), /GC needs the list/);
  });
});

describe('failures', () => {
  it('say whether to come again', async () => {
    agent.refuse('sandboxCreate', 504, 'kernel_timeout', 'slow', 'later');
    assert.equal(await fails(11, of('ADD'), config), 'slow; later');
    agent.refuse('sandboxCreate', 404, 'network_not_found', 'network frontend not found', 'look');
    assert.equal(await fails(7, of('ADD'), config), 'network frontend not found; look');
    agent.refuse('sandboxCreate', 507, 'exhausted', 'nothing free', 'add a subnet');
    assert.equal(await fails(100, of('ADD'), config), 'nothing free; add a subnet');
    const { json } = await cni('/nonexistent/weft.sock', of('ADD'), config);
    assert.equal(json?.['code'], 11);
    assert.match(`${json?.['msg']}`, /no agent is running at .*systemctl start weft/);
  });

  it('that pass by themselves are waited for: an address that rests, a change that is under way', async () => {
    const create = agent.answers.get('sandboxCreate');
    assert.ok(typeof create === 'function');
    let asked = 0;
    agent.answers.set('sandboxCreate', (seen) => {
      asked += 1;
      return asked === 1 ? { status: 409, body: { code: 'address_resting', message: 'in 1 s' } } : create(seen);
    });
    await done(of('ADD'), config);
    assert.equal(asked, 2);
    const remove = agent.answers.get('sandboxRemove');
    assert.ok(typeof remove === 'function');
    agent.answers.set('sandboxRemove', (seen) => {
      asked += 1;
      if (asked === 3) return { status: 409, body: { code: 'sandbox_busy', message: 'being changed' } };
      remove(seen);
      return { status: 404, body: { code: 'sandbox_not_found', message: 'gone meanwhile' } };
    });
    await done(of('DEL'), config);
    assert.deepEqual([asked, sandboxes.size], [4, 0]);
  });

  it('of which nobody knows whether anything was made take it back', async () => {
    const create = agent.answers.get('sandboxCreate');
    assert.ok(typeof create === 'function');
    agent.answers.set('sandboxCreate', (seen) => {
      create(seen);
      return { status: 200, body: 'no json' };
    });
    assert.match(await fails(11, of('ADD'), config), /did not answer with JSON/);
    assert.equal(sandboxes.size, 0);
  });

  it('of STATUS are 50, and say why', async () => {
    await done(of('STATUS'), config);
    assert.match(await fails(50, of('STATUS'), back), /network blue is not known here/);
    const { json } = await cni('/nonexistent/weft.sock', of('STATUS'), config);
    assert.equal(json?.['code'], 50);
  });

  it('name what of the input is wrong', async () => {
    const cases: [number, RegExp, object, unknown][] = [
      [4, /CNI_COMMAND "MOVE" is not one of/, { CNI_COMMAND: 'MOVE' }, config],
      [4, /CNI_COMMAND is not set; .*container runtimes/, { CNI_COMMAND: undefined }, config],
      [4, /CNI_CONTAINERID "\.\.\/x"/, { CNI_CONTAINERID: '../x' }, config],
      [4, /CNI_CONTAINERID ""/, { CNI_CONTAINERID: undefined }, config],
      [4, /CNI_IFNAME: "a\/b"/, { CNI_IFNAME: 'a/b' }, config],
      [4, /CNI_NETNS: "netns"/, { CNI_NETNS: 'netns' }, config],
      [4, /CNI_ARGS: "x" is not KEY=VALUE/, { CNI_ARGS: 'x' }, config],
      [4, /CNI_ARGS: "FOO" is not known/, { CNI_ARGS: 'FOO=1' }, config],
      [6, /is not JSON/, {}, '{"cniVersion": "1.1.0"'],
      [6, /longer than 1048576 bytes/, {}, ' '.repeat(1024 * 1024 + 1)],
      [7, /prevResult: weft makes the interface/, {}, { ...config, prevResult: {} }],
      [7, /ipam: Weft gives addresses by itself/, {}, { ...config, ipam: { type: 'host-local' } }],
      [7, /name: want letters/, {}, { ...config, name: '../x' }],
      [7, /runtimeConfig\.aliases/, {}, { ...config, runtimeConfig: { aliases: { frontend: ['a b'] } } }],
      [7, /ips: "10\.0\.0\.300"/, {}, { ...config, runtimeConfig: { ips: ['10.0.0.300'] } }],
      [7, /one address of each family/, {}, { ...config, runtimeConfig: { ips: ['10.0.0.3', '10.0.0.4'] } }],
      [7, /mac: .*group bit/, {}, { ...config, runtimeConfig: { mac: '03:00:00:00:00:00' } }],
      [7, /network: want a name/, {}, { ...config, network: 'a/b' }],
    ];
    for (const [code, message, env, stdin] of cases) {
      assert.match(await fails(code, { ...of('ADD'), ...env }, stdin), message);
    }
    assert.deepEqual(agent.seen, []);
  });

  it('of a version that is not spoken, or lacks the verb, name one that does', async () => {
    for (const [command, cniVersion, message] of [
      ['ADD', '0.2.0', /cniVersion "0\.2\.0"/],
      ['ADD', undefined, /no cniVersion/],
      ['CHECK', '0.3.1', /cniVersion 0\.3\.1 has no CHECK/],
      ['GC', '1.0.0', /cniVersion 1\.0\.0 has no GC/],
    ] as const) {
      const { exitCode, json } = await call(of(command), { ...config, cniVersion });
      assert.deepEqual([exitCode, json?.['code']], [1, 1]);
      assert.match(`${json?.['msg']}`, message);
    }
  });
});
