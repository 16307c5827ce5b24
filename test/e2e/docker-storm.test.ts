import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Network, Status } from '../../agent/api/schema.ts';
import { Docker } from '../lab/docker.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

/** How often all of them come and go. */
const ROUNDS = Number(process.env['STORM_ROUNDS'] ?? 5);
const CONTAINERS = 20;
/** Docker's own lock on its networks is the limit; more at once wait there. */
const AT_ONCE = 4;

describe('a storm of containers on three hosts', { timeout: 230_000 }, () => {
  const stage = useLab({ hosts: 3, cluster: { managers: 3 } });
  let dockers: readonly Docker[] = [];
  before(async () => {
    dockers = await Promise.all(stage.lab.hosts.map((each) => Docker.start(each)));
    await Promise.all(dockers.map((each) => each.importImage()));
    await stage.lab.host(1).weft('network', 'create', 'storm');
    await eventually('the network in all Dockers', async () =>
      (await Promise.all(dockers.map((each) => each.exec(['network', 'inspect', 'storm'], { check: false })))).every(
        ({ exitCode }) => exitCode === 0,
      ),
    );
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  const inTurns = async (docker: Docker, work: (name: string) => Promise<unknown>): Promise<void> => {
    const names = Array.from({ length: CONTAINERS }, (_, at) => `c${docker.host.index}-${at}`);
    const worker = async (): Promise<void> => {
      for (let name = names.shift(); name !== undefined; name = names.shift()) await work(name);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, worker));
  };
  const addressesIn = async (docker: Docker): Promise<string[]> => {
    const { stdout } = await docker.exec(['network', 'inspect', 'storm']);
    const [network] = JSON.parse(stdout) as { Containers: Record<string, { IPv4Address: string }> }[];
    return Object.values(network?.Containers ?? {}).map(({ IPv4Address }) => IPv4Address);
  };

  for (let round = 1; round <= ROUNDS; round++) {
    it(`no two have one address, and all hosts know of all (round ${round})`, async () => {
      await Promise.all(
        dockers.map((each) => inTurns(each, (name) => each.run(['--network', 'storm', '--name', name]))),
      );
      const addresses = (await Promise.all(dockers.map(addressesIn))).flat();
      assert.equal(addresses.length, 3 * CONTAINERS);
      assert.equal(new Set(addresses).size, addresses.length);
      await settled(stage.lab);
      for (const host of stage.lab.hosts) {
        const endpoints = await host.api.call('endpointList', { query: { network: 'storm' } });
        assert.deepEqual(endpoints.map(({ IPv4Address }) => IPv4Address).sort(), [...addresses].sort());
      }
      const [first, last] = [dockers[0], dockers[2]];
      const target = (await last?.inspect('c3-7'))?.NetworkSettings.Networks['storm']?.IPAddress ?? '';
      assert.match(
        (await first?.execIn('c1-3', 'ping', ['-c1', '-W2', target]))?.stdout ?? '',
        /1 (packets )?received/,
      );
    });

    it(`nothing of them is left in any kernel, table or Docker (round ${round})`, async () => {
      await Promise.all(dockers.map((each) => inTurns(each, (name) => each.exec(['rm', '-f', name]))));
      await settled(stage.lab);
      for (const [at, host] of stage.lab.hosts.entries()) {
        assert.deepEqual(await addressesIn(dockers[at] as Docker), []);
        assert.deepEqual(await host.api.call('endpointList', { query: { network: 'storm' } }), []);
        const [network] = await host.weftJson<Network[]>('network', 'inspect', 'storm');
        assert.deepEqual(network?.Containers, {});
        const links = (await host.exec('ip', ['-brief', 'link'])).stdout;
        const ports = (await host.execIn('/run/netns/weft', 'ip', ['-brief', 'link'])).stdout;
        assert.doesNotMatch(links, /^wj/m);
        // The node's own leg on ingress has one.
        assert.equal(ports.match(/^wv/gm)?.length, 1, ports);
        assert.deepEqual((await host.weftJson<Status>('status')).Warnings, []);
      }
    });
  }
});
