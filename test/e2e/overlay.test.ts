import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Network } from '../../agent/api/schema.ts';
import type { LabSandbox } from '../lab/host.ts';
import { OUTSIDE } from '../lab/lab.ts';
import { settled, useLab } from '../lab/suite.ts';

const PROBE = { count: 2, intervalMs: 30, waitMs: 700 };

async function reaches(from: LabSandbox, address: string): Promise<boolean> {
  return (await from.ping(address, PROBE)).received > 0;
}

describe('overlay networks', () => {
  const stage = useLab({ hosts: 3 });
  const made = new Map<string, LabSandbox>();
  const box = (name: string): LabSandbox => {
    const sandbox = made.get(name);
    assert.ok(sandbox, `${name} was made by an earlier test`);
    return sandbox;
  };
  const make = async (host: number, name: string, networks: string[]): Promise<LabSandbox> => {
    const sandbox = await stage.lab.host(host).createSandbox({ Name: name, Networks: networks });
    made.set(name, sandbox);
    return sandbox;
  };

  it('are made on one host and known on all', async () => {
    for (const name of ['frontend', 'backend']) {
      assert.equal((await stage.lab.host(1).weft('network', 'create', name)).exitCode, 0);
    }
    await settled(stage.lab);
    for (const host of stage.lab.hosts) {
      const names = (await host.weftJson<Network[]>('network', 'ls')).map((network) => network.Name).sort();
      assert.deepEqual(names, ['backend', 'frontend', 'host', 'ingress', 'none']);
    }
  });

  it("are described with Docker's fields and the VNI", async () => {
    const [network] = await stage.lab.host(2).weftJson<Network[]>('network', 'inspect', 'frontend');
    const fields =
      'Name Id Created Scope Driver EnableIPv6 IPAM Internal Attachable Ingress Containers Options Labels Peers VNI';
    for (const field of fields.split(' ')) assert.ok(network && field in network, field);
    assert.equal(network?.Driver, 'overlay');
    assert.ok((network?.VNI ?? 0) >= 4096);
    assert.match(network?.IPAM.Config[0]?.Subnet ?? '', /^10\.\d+\.\d+\.0\/24$/);
  });

  it('connect sandboxes of different hosts, each network by itself', async () => {
    await make(1, 'web-1', ['frontend']);
    await make(1, 'db-1', ['backend']);
    await make(2, 'web-2', ['frontend']);
    await make(2, 'both-2', ['frontend', 'backend']);
    await make(3, 'db-3', ['backend']);
    await settled(stage.lab);
    assert.equal(await reaches(box('web-1'), box('web-2').address('frontend')), true);
    assert.equal(await reaches(box('db-1'), box('db-3').address('backend')), true);
  });

  it('let a sandbox on two networks reach both', async () => {
    assert.equal(await reaches(box('both-2'), box('web-1').address('frontend')), true);
    assert.equal(await reaches(box('both-2'), box('db-3').address('backend')), true);
    assert.equal(await reaches(box('web-1'), box('both-2').address('frontend')), true);
    assert.equal(await reaches(box('db-3'), box('both-2').address('backend')), true);
  });

  it('do not let it through from one to the other', async () => {
    // A sandbox on both answers for either address on each of its wires, as any Linux host does (arp_ignore 0), so that
    // the strangers here are those without a common network.
    for (const [from, to, network] of [
      ['web-1', 'db-3', 'backend'],
      ['web-1', 'db-1', 'backend'],
      ['db-3', 'web-2', 'frontend'],
    ] as const) {
      assert.equal(await reaches(box(from), box(to).address(network)), false, `${from} reached ${to}`);
      // Not even when the sandbox has a mind to: the address is made to look local to its own network.
      const route = [`${box(to).address(network)}/32`, 'dev', box(from).info.Networks[0]?.Interface ?? ''];
      await box(from).exec('ip', ['route', 'add', ...route]);
      assert.equal(await reaches(box(from), box(to).address(network)), false, `${from} reached ${to} on its own wire`);
      await box(from).exec('ip', ['route', 'delete', ...route]);
    }
  });

  it('have ingress on every node, with an endpoint of its own', async () => {
    const own = await Promise.all(stage.lab.hosts.map((host) => host.sandbox('ingress-sbox')));
    for (const from of own) {
      for (const to of own) {
        if (from !== to) assert.equal(await reaches(from, to.address('ingress')), true, from.host.name);
      }
    }
  });

  it('send what is for the outside through docker_gwbridge, as the host', async () => {
    assert.equal(await reaches(box('web-1'), OUTSIDE.address), true);
    const gateway = box('db-1').info.Gateway?.IPv4Address.replace(/\/.*/, '') ?? '';
    assert.equal(await reaches(box('web-1'), box('web-1').info.Gateway?.Gateway ?? ''), true);
    assert.equal(await reaches(box('web-1'), gateway), false);
  });

  it('give an --internal one no way out', async () => {
    await stage.lab.host(1).weftJson('network', 'create', '--internal', 'vault');
    const sandbox = await make(1, 'vault-1', ['vault']);
    assert.equal(sandbox.info.Gateway, null);
    assert.equal((await sandbox.exec('ip', ['route', 'show', 'default'])).stdout, '');
    assert.equal((await sandbox.exec('ping', ['-c1', '-W1', OUTSIDE.address], { check: false })).exitCode, 2);
    await settled(stage.lab);
    const other = await make(2, 'vault-2', ['vault']);
    await settled(stage.lab);
    assert.equal(await reaches(sandbox, other.address('vault')), true);
  });

  it('may use the same subnet twice', async () => {
    for (const name of ['red', 'blue']) {
      await stage.lab.host(1).weftJson('network', 'create', '--subnet', '10.77.0.0/24', name);
    }
    await settled(stage.lab);
    const boxes: LabSandbox[] = [];
    for (const network of ['red', 'blue']) {
      for (const host of [1, 2]) boxes.push(await make(host, `${network}-${host}`, [network]));
    }
    await settled(stage.lab);
    const [red1, red2, blue1, blue2] = boxes;
    assert.ok(red1 && red2 && blue1 && blue2);
    // Each network counts its addresses by itself, so they are the same ones; who answers is told by the wire.
    assert.equal(red2.address('red'), blue2.address('blue'));
    assert.equal(await reaches(red1, red2.address('red')), true);
    assert.equal(await reaches(blue1, blue2.address('blue')), true);
    // Not by its interface: that would be up again at once.
    await red2.exec('nft', ['add table inet mute { chain in { type filter hook input priority 0; policy drop; }; }']);
    assert.equal(await reaches(red1, red2.address('red')), false);
    assert.equal(await reaches(blue1, blue2.address('blue')), true);
    for (const sandbox of boxes) await sandbox.host.api.call('sandboxRemove', { ref: sandbox.name });
    await settled(stage.lab);
  });

  it('forget an endpoint that was removed, in every kernel', async () => {
    const gone = box('both-2');
    const traces = async (): Promise<string[]> => {
      const dumps = await Promise.all(stage.lab.hosts.map((host) => host.kernel()));
      const marks = gone.info.Networks.flatMap((endpoint) => [
        endpoint.MacAddress.toLowerCase(),
        `${endpoint.IPv4Address.replace(/\/.*/, '')} `,
      ]);
      const lines = dumps.flatMap(({ weft }) => [...(weft?.fdb ?? []), ...(weft?.neighbours ?? [])]);
      return lines.filter((line) => marks.some((mark) => line.includes(mark)));
    };
    assert.ok((await traces()).length >= 8, 'two hosts have FDB and neighbour for two endpoints');
    assert.equal((await gone.host.weft('sandbox', 'rm', 'both-2')).exitCode, 0);
    await settled(stage.lab);
    assert.deepEqual(await traces(), []);
    const name = gone.info.NetnsPath.split('/').at(-1) ?? '';
    assert.equal((await gone.host.exec('ls', ['/run/netns'])).stdout.split('\n').includes(name), false);
  });

  it('forget a node that leaves, in every table', async () => {
    const leaver = stage.lab.host(3);
    const { NodeID: id } = await leaver.api.call('status');
    assert.notEqual((await leaver.weft('leave')).exitCode, 0, 'with sandboxes left it asks for --force');
    assert.equal((await leaver.weft('leave', '--force')).exitCode, 0);
    const stayed = [stage.lab.host(1), stage.lab.host(2)];
    await settled(stage.lab, stayed);
    for (const host of stayed) {
      const nodes = await host.api.call('nodeList');
      assert.equal(
        nodes.some((node) => node.ID === id),
        false,
        `${host.name} still lists the node`,
      );
      const endpoints = await host.api.call('endpointList');
      assert.equal(
        endpoints.some((endpoint) => endpoint.NodeID === id),
        false,
        `${host.name} still has its endpoints`,
      );
      const kernel = await host.kernel();
      assert.equal(JSON.stringify(kernel.weft).includes(leaver.address), false, `${host.name} still sends there`);
    }
    const left = await leaver.api.call('status');
    assert.deepEqual([left.State, left.Networks, left.Sandboxes], ['inactive', 0, 0]);
    const kernel = await leaver.kernel();
    assert.deepEqual(kernel.weft?.links ?? [], []);
    assert.deepEqual(kernel.sandboxes, {});
  });
});
