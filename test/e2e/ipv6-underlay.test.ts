import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { InitReply, Network } from '../../agent/api/schema.ts';
import type { Host, LabSandbox } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { noWarnings, settled, useLab } from '../lab/suite.ts';
import { transfers } from '../lab/transfers.ts';

const NETWORKS = ['plain', 'dual'];

const addressesOf = (box: LabSandbox): string[] => [
  ...NETWORKS.map((network) => box.address(network)),
  box.address6('dual'),
];

describe('an underlay of IPv6', () => {
  const stage = useLab({ hosts: 3, families: ['IPv6'], cluster: false });
  const hosts = (): [Host, Host, Host] => [stage.lab.host(1), stage.lab.host(2), stage.lab.host(3)];
  let token = '';
  const box = (host: Host): Promise<LabSandbox> => host.sandbox(`box-${host.index}`);

  it('a node finds its address by its default route, and another joins there', async () => {
    await stage.lab.startAgents();
    const [one, two] = hosts();
    const init = await one.weftJson<InitReply>('init');
    assert.equal(init.JoinAddr, `[${one.address}]:2377`);
    token = init.JoinTokens.Worker;
    await two.weftJson('join', '--token', token, init.JoinAddr);
    await settled(stage.lab, [one, two]);
    for (const host of [one, two]) {
      const status = await host.api.call('status');
      assert.deepEqual([status.DataPathAddr, status.GossipAddrs], [host.address, [`[${host.address}]:7946`]]);
      await noWarnings(host);
    }
  });

  it('one whose VXLAN address is of IPv4 is refused, told why, and keeps nothing', async () => {
    const [one, , three] = hosts();
    await three.exec('ip', ['address', 'add', '10.99.0.3/24', 'dev', 'eth0']);
    const join = (...flags: string[]) => three.weft('join', ...flags, '--token', token, `[${one.address}]:2377`);
    const refused = await join('--data-path-addr', '10.99.0.3');
    assert.equal(refused.exitCode, 1);
    assert.match(
      refused.stderr,
      /10\.99\.0\.3 is IPv4, and VXLAN traffic of this cluster goes over IPv6, as to fd99::1/,
    );
    assert.match(refused.stderr, /--data-path-addr/);
    assert.equal((await three.api.call('status')).State, 'inactive');
    const nodes = await one.api.call('nodeList');
    assert.equal(nodes.length, 2);
    assert.equal((await join()).exitCode, 0);
    await settled(stage.lab);
  });

  it('networks of IPv4 and of both go over it', async () => {
    const [one] = hosts();
    await one.weftJson('network', 'create', 'plain');
    await one.weftJson('network', 'create', '--ipv6', 'dual');
    await settled(stage.lab);
    for (const host of hosts()) await host.createSandbox({ Name: `box-${host.index}`, Networks: NETWORKS });
    await settled(stage.lab);
    const boxes = await Promise.all(hosts().map(box));
    for (const from of boxes) {
      for (const to of boxes.filter((each) => each !== from)) {
        for (const address of addressesOf(to)) {
          assert.equal((await from.ping(address, { count: 1 })).received, 1, `${from.name} to ${address}`);
        }
      }
    }
    const [first, second] = boxes;
    assert.ok(first && second);
    for (const address of addressesOf(second)) assert.ok(await transfers(first, second, address), address);
  });

  it('what fits goes through whole: 70 bytes less than the underlay takes', async () => {
    const [one, two] = hosts();
    const [network] = await one.weftJson<Network[]>('network', 'inspect', 'dual');
    assert.equal(network?.MTU, 1430);
    const [from, to] = [await box(one), await box(two)];
    for (const [address, headers] of [
      [to.address('dual'), 28],
      [to.address6('dual'), 48],
    ] as const) {
      const whole = { count: 2, dontFragment: true };
      assert.equal((await from.ping(address, { ...whole, dataBytes: 1430 - headers })).received, 2, address);
    }
  });

  it('a host that is cut off is told from one whose agent is down, by ICMPv6 too', async () => {
    const [one, two, three] = hosts();
    const seen = async (): Promise<string> => {
      const { Peers: peers } = await one.api.call('status');
      return peers.find(({ Hostname: name }) => name === three.name)?.StatusMessage ?? '';
    };
    await three.killAgent();
    await eventually('the agent to be missed', async () => /agent/.test(await seen()), { timeoutMs: 60_000 });
    await three.startAgent();
    await settled(stage.lab);
    await three.linkDown();
    await eventually('the host to be missed', async () => /host|reach/.test(await seen()), { timeoutMs: 60_000 });
    await three.linkUp();
    await settled(stage.lab, [one, two, three]);
  });

  it('a node whose VXLAN address is of IPv4 since its restart is left out, and named on all', async () => {
    const [one, two, three] = hosts();
    await three.stopAgent();
    await three.startAgent({ config: { 'data-path-addr': '10.99.0.3' } });
    const named = /has the VTEP .* \(IPv[46]\), and this one has .* set data-path-addr in the configuration/;
    for (const [host, other] of [
      [one, three],
      [two, three],
      [three, one],
    ] as const) {
      await eventually(`${host.name} to name ${other.name}`, async () => {
        const { Warnings: warnings } = await host.api.call('status');
        return warnings.some((line) => named.test(line) && line.includes(`node ${other.name} `));
      });
    }
    const { weft } = await one.kernel();
    assert.equal(JSON.stringify(weft).includes('10.99.0.3'), false);
    assert.ok((await (await box(one)).ping((await box(two)).address6('dual'))).received > 0, 'the others go on');
    await three.stopAgent();
    await three.startAgent({ config: { 'data-path-addr': three.address } });
    await settled(stage.lab);
    await noWarnings(one);
    assert.ok((await (await box(one)).ping((await box(three)).address('plain'))).received > 0);
  });

  it('a node that gets another address is at that one from its next start', async () => {
    const [one, two] = hosts();
    await two.exec('ip', ['-6', 'address', 'flush', 'dev', 'eth0', 'scope', 'global']);
    await two.exec('ip', ['address', 'add', 'fd99::52/64', 'dev', 'eth0', 'nodad']);
    await two.stopAgent();
    await two.startAgent();
    await settled(stage.lab);
    const status = await two.api.call('status');
    assert.deepEqual([status.DataPathAddr, status.GossipAddrs], ['fd99::52', ['[fd99::52]:7946']]);
    assert.ok((await (await box(one)).ping((await box(two)).address6('dual'))).received > 0);
  });
});
