import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Network, Status } from '../../agent/api/schema.ts';
import { Docker } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { Held, serveInNamespace, tally, webOn } from '../lab/who.ts';

const FORWARDING = 'net.ipv6.conf.all.forwarding';

describe('the routing mesh over IPv6', { timeout: 200_000 }, () => {
  const stage = useLab({ hosts: 3, families: ['IPv4', 'IPv6'], cluster: { managers: 3, initArgs: ['--ipv6'] } });
  const host = (index: number): Host => stage.lab.host(index);
  const six = (index: number): string => host(index).addresses[1] ?? assert.fail();
  const sysctl = async (index: number, name: string): Promise<string> =>
    (await host(index).exec('sysctl', ['-n', name])).stdout.trim();
  let docker: Docker | undefined;
  after(() => docker?.[Symbol.asyncDispose]());
  before(async () => {
    await webOn(stage.lab, [1, 2]);
    const published = await host(3).weft('publish', '--network', 'frontend', 'web', '8080:9000', '8080:9000/udp');
    assert.equal(published.exitCode, 0, published.stderr);
    await settled(stage.lab);
  });

  it('ingress has a unique local subnet besides that of IPv4', async () => {
    const [ingress] = await host(2).weftJson<Network[]>('network', 'inspect', 'ingress');
    assert.equal(ingress?.EnableIPv6, true);
    assert.match(JSON.stringify(ingress?.IPAM), /"fd[0-9a-f:]+::\/64"/);
  });

  for (const protocol of ['tcp', 'udp'] as const) {
    it(`the endpoints see the client's address, through each node, over ${protocol}`, async () => {
      for (const [from, to] of [
        [3, 1],
        [3, 2],
        [1, 3],
        [2, 1],
      ] as const) {
        const expected = ['web-1', 'web-2'].map((name) => `${name} ${six(from)}`);
        await eventually(`${protocol} from host ${from} to host ${to}`, async () => {
          const answers = await tally(host(from), six(to), 8080, 40, protocol);
          assert.deepEqual(Object.keys(answers).sort(), expected);
          return true;
        });
        const four = await tally(host(from), host(to).address, 8080, 20, protocol);
        assert.deepEqual(
          Object.keys(four).sort(),
          ['web-1', 'web-2'].map((name) => `${name} ${host(from).address}`),
        );
      }
    });

    it(`and that of one outside, over ${protocol}`, async () => {
      for (const to of [1, 2, 3]) {
        const answers = await tally(stage.lab.underlay, six(to), 8080, 40, protocol);
        assert.deepEqual(Object.keys(answers).sort(), ['web-1 fd99::ff', 'web-2 fd99::ff'], `host ${to}`);
      }
    });

    it(`the host itself reaches it over ${protocol}, also at its loopback`, async () => {
      for (const address of ['::1', six(3)]) {
        const answers = await tally(host(3), address, 8080, 20, protocol);
        const names = Object.keys(answers).map((each) => each.split(' ')[0]);
        assert.deepEqual(names.sort(), ['web-1', 'web-2'], `${address}: ${JSON.stringify(answers)}`);
      }
    });
  }

  it('a container of Docker is an endpoint as any other, and sees the client, too', async () => {
    docker = await Docker.start(host(3));
    await eventually('the network in Docker', async () => {
      const { stdout } = await host(3).exec('/usr/bin/docker', ['network', 'ls', '--format', '{{.Name}}']);
      return stdout.split('\n').includes('frontend');
    });
    await docker.run(['--network', 'frontend', '--network-alias', 'web', '--name', 'web-3']);
    const { SandboxKey: netns } = (await docker.inspect('web-3')).NetworkSettings;
    await serveInNamespace(host(3), netns, 'web-3', 9000);
    for (const protocol of ['tcp', 'udp'] as const) {
      await eventually(`it to be a backend everywhere, over ${protocol}`, async () => {
        const answers = await tally(host(1), six(2), 8080, 60, protocol);
        assert.deepEqual(
          Object.keys(answers).sort(),
          ['web-1', 'web-2', 'web-3'].map((name) => `${name} ${six(1)}`),
        );
        return true;
      });
    }
  });

  it('a connection goes on while an agent comes and goes', async () => {
    const held = await Held.open(host(2), six(3), 8080);
    await host(3).killAgent();
    await held.goesOn();
    await host(3).startAgent();
    await settled(stage.lab);
    await held.goesOn();
    await held.end();
    const { Items: drift } = await host(3).weftJson<{ Items: unknown[] }>('drift');
    assert.deepEqual(drift, []);
  });

  it('who was led to an endpoint that goes is led to another, or told', async () => {
    const opened: Held[] = [];
    // Endpoints take turns, so one of three is the container.
    const open = async (protocol: 'tcp' | 'udp'): Promise<Held> =>
      await eventually(`${protocol} to the container`, async () => {
        const held = await Held.open(host(1), six(2), 8080, protocol);
        opened.push(held);
        return held.by === 'web-3' ? held : undefined;
      });
    const [connection, datagrams] = [await open('tcp'), await open('udp')];
    await docker?.exec(['rm', '-f', 'web-3']);
    await datagrams.movesOn();
    await connection.ends();
    for (const held of opened) if (held !== connection) await held.end();
  });

  it('nothing is left of what is not published any more', async () => {
    assert.equal((await host(3).weft('unpublish', 'web')).exitCode, 0);
    await eventually('no legs on ingress but the own ones', async () => {
      const legs = await host(1).api.call('endpointList', { query: { network: 'ingress' } });
      return legs.length === 3;
    });
    await settled(stage.lab);
    for (const each of stage.lab.hosts) {
      assert.doesNotMatch((await each.exec('nft', ['list', 'ruleset'])).stdout, /8080|dnat ip6? to/);
      for (const { NetnsPath: netns } of await each.api.call('sandboxList')) {
        const inside = async (command: string, ...args: string[]): Promise<string> =>
          (await each.execIn(netns, command, args)).stdout;
        assert.doesNotMatch(await inside('nft', 'list', 'ruleset'), /weft_(mesh|return)/);
        assert.doesNotMatch(await inside('ip', '-6', 'rule'), /fwmark|57570/);
      }
      assert.deepEqual((await each.weftJson<Status>('status')).Warnings, []);
      assert.deepEqual(await tally(each, '::1', 8080, 1), { ECONNREFUSED: 1 });
    }
  });

  it('who leaves forwards no IPv6 any more, and has no leg to its gate', async () => {
    assert.equal(await sysctl(2, FORWARDING), '1');
    assert.equal((await host(2).weft('sandbox', 'rm', 'web-2')).exitCode, 0);
    const left = await host(2).weft('leave');
    assert.equal(left.exitCode, 0, left.stderr);
    assert.equal(await sysctl(2, FORWARDING), '0');
    assert.equal(await sysctl(2, 'net.ipv6.conf.eth0.accept_ra'), '1');
    assert.equal(await sysctl(2, 'net.ipv6.conf.default.accept_ra'), '1');
    assert.doesNotMatch((await host(2).exec('ip', ['link'])).stdout, /: wg/);
  });
});
