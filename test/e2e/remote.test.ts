import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Network } from '../../agent/api/schema.ts';
import type { Host } from '../lab/host.ts';
import type { Inside } from '../lab/inside.ts';
import { eventually } from '../lab/process.ts';
import { useLab } from '../lab/suite.ts';
import { createSandbox, reaches, refusal } from '../lab/verbs.ts';

const SCRIPT = fileURLToPath(new URL('../lab/tools/plugin.mjs', import.meta.url));

interface Call {
  readonly method: string;
  readonly body: Readonly<Record<string, unknown>>;
}

async function startPlugin(host: Host, socket: string, ...flags: string[]): Promise<Inside> {
  const plugin = await host.spawn(process.execPath, [SCRIPT, socket, ...flags]);
  await plugin.says(/^listening$/m);
  return plugin;
}
const callsTo = (plugin: Inside): Call[] =>
  plugin.text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Call);
const methodsOf = (calls: readonly Call[]): string[] => calls.map(({ method }) => method.replace('NetworkDriver.', ''));

describe("networks of somebody else's driver", () => {
  const stage = useLab({ hosts: 1, cluster: false });
  const host = (): Host => stage.lab.host(1);
  let plugin: Inside;

  it('are made, joined, left and removed in the calls that Docker makes', async () => {
    await host().startAgent();
    assert.match(
      await refusal(host(), 'network', 'create', '-d', 'mesh', 'x'),
      /network driver mesh is not there: no plugin of that name in \/run\/docker\/plugins/,
    );
    plugin = await startPlugin(host(), '/run/docker/plugins/mesh.sock');
    await host().weftJson('network', 'create', '-d', 'mesh', '-o', 'colour=blue', 'fabric');
    const [network] = JSON.parse((await host().weft('network', 'inspect', 'fabric')).stdout) as Network[];
    assert.deepEqual([network?.Driver, network?.Scope], ['mesh', 'local']);
    const [a, b] = [
      await createSandbox(host(), '--network', 'fabric', 'a'),
      await createSandbox(host(), '--network', 'fabric', 'b'),
    ];
    assert.equal(await reaches(a, b.address('fabric')), true);
    assert.equal(await reaches(a, '172.17.0.1'), true);
    const links = (await a.exec('ip', ['-o', 'link'])).stdout;
    assert.match(links, /mesh0/);
    assert.match(
      (await a.exec('ip', ['route'])).stdout,
      /default via 172\.17\.0\.1 dev mesh0[\s\S]*10\.123\.0\.0\/24 dev mesh0/,
    );
    const calls = callsTo(plugin);
    assert.deepEqual(methodsOf(calls), [
      ...['Plugin.Activate', 'GetCapabilities', 'CreateNetwork'],
      ...['CreateEndpoint', 'Join', 'CreateEndpoint', 'Join'],
    ]);
    assert.deepEqual(calls[2]?.body, {
      NetworkID: network?.Id,
      Options: { 'com.docker.network.enable_ipv6': false, 'com.docker.network.generic': { colour: 'blue' } },
      IPv4Data: [{ AddressSpace: 'LocalDefault', Gateway: '172.17.0.1/16', Pool: '172.17.0.0/16' }],
      IPv6Data: [],
    });
    assert.deepEqual(calls[3]?.body['Interface'], {
      Address: `${a.address('fabric')}/16`,
      AddressIPv6: '',
      MacAddress: '',
    });
    assert.equal(calls[4]?.body['SandboxKey'], a.info.NetnsPath);
    assert.deepEqual((await host().weftJson<{ Items: unknown[] }>('drift')).Items, []);
  });

  it('outlive the agent, and what others change in the sandbox is repaired', async () => {
    const a = await host().sandbox('a');
    await host().killAgent();
    assert.equal(await reaches(a, '172.17.0.1'), true);
    await host().startAgent();
    assert.equal((await host().api.call('status')).Kernel.Repairs, 0);
    await a.exec('ip', ['address', 'flush', 'dev', 'mesh0']);
    await eventually('the address to be back', async () => (await reaches(a, '172.17.0.1')) || undefined);
    assert.equal(callsTo(plugin).length, 7, 'nothing is asked of the plugin anew');
  });

  it('give the interface back, and tell of published ports', async () => {
    assert.equal((await host().weft('network', 'disconnect', 'fabric', 'a')).exitCode, 0);
    const { stdout } = await (await host().sandbox('a')).exec('ip', ['-o', 'link']);
    assert.doesNotMatch(stdout, /mesh0/);
    const web = await createSandbox(host(), '--network', 'fabric', '-p', '8080:80', 'web');
    assert.equal(web.info.Ports['80/tcp']?.[0]?.HostPort, '8080');
    const calls = callsTo(plugin).slice(7);
    assert.deepEqual(methodsOf(calls), [
      // A new agent asks again who it is. It lacks the first of these, as older plugins do.
      ...['Plugin.Activate', 'GetCapabilities', 'RevokeExternalConnectivity', 'Leave', 'DeleteEndpoint'],
      ...['CreateEndpoint', 'Join', 'ProgramExternalConnectivity'],
    ]);
    const options = calls.at(-1)?.body['Options'] as { [key: string]: unknown };
    assert.deepEqual(options['com.docker.network.portmap'], [
      { Proto: 6, IP: '', Port: 80, HostIP: '0.0.0.0', HostPort: 8080, HostPortEnd: 8080 },
    ]);
    assert.equal((await host().weft('sandbox', 'rm', 'a', 'b', 'web')).exitCode, 0);
    assert.equal((await host().weft('network', 'rm', 'fabric')).exitCode, 0);
    assert.doesNotMatch((await host().exec('ip', ['-o', 'link'])).stdout, /p[bpi][0-9a-f]{10}/);
  });

  it('that refuse are quoted, and leave nothing behind', async () => {
    for (const method of ['CreateEndpoint', 'Join']) {
      const fail = `fail=NetworkDriver.${method}`;
      await host().weftJson('network', 'create', '-d', 'mesh', '-o', fail, 'sour');
      assert.match(
        await refusal(host(), 'sandbox', 'create', '--network', 'sour', 'x'),
        new RegExp(`network driver mesh: NetworkDriver\\.${method}: this plugin refuses NetworkDriver\\.${method}`),
      );
      assert.deepEqual(await host().api.call('sandboxList'), []);
      assert.equal((await host().weft('network', 'rm', 'sour')).exitCode, 0);
    }
    assert.match(
      await refusal(host(), 'network', 'create', '-d', 'mesh', '-o', 'fail=NetworkDriver.CreateNetwork', 'sour'),
      /this plugin refuses/,
    );
    assert.equal((await host().api.call('networkList')).length, 2);
    await plugin.end('SIGKILL');
    assert.match(await refusal(host(), 'network', 'create', '-d', 'mesh', 'x'), /ECONNREFUSED/);
  });

  it('are found by a spec file, and without a gateway of their own have the one that overlays have', async () => {
    await host().exec('mkdir', ['-p', '/etc/docker/plugins']);
    await host().exec('mount', ['-t', 'tmpfs', 'tmpfs', '/etc/docker/plugins']);
    await host().exec('tee', ['/etc/docker/plugins/woven.spec'], { input: 'unix:///run/woven.sock\n' });
    const other = await startPlugin(host(), '/run/woven.sock', '--no-gateway');
    await host().api.call('init', { body: {}, timeoutMs: 60_000 });
    await host().weftJson('network', 'create', '-d', 'woven', 'cloth');
    const c = await createSandbox(host(), '--network', 'cloth', 'c');
    assert.match((await c.exec('ip', ['route', 'show', 'default'])).stdout, /via 172\.1\d\.0\.1 dev eth0/);
    await other.end('SIGKILL');
    // A plugin that has gone keeps neither sandbox nor network.
    assert.equal((await host().weft('sandbox', 'rm', 'c')).exitCode, 0);
    assert.equal((await host().weft('network', 'rm', 'cloth')).exitCode, 0);
  });
});
