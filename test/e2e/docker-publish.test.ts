import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Service, Status } from '../../agent/api/schema.ts';
import { Docker, IMAGE } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { refusal } from '../lab/verbs.ts';
import { serveInNamespace, tally } from '../lab/who.ts';

describe("ports by Docker's labels", { timeout: 180_000 }, () => {
  const stage = useLab({ hosts: 2 });
  let dockers: readonly Docker[] = [];
  const host = (index: number): Host => stage.lab.host(index);
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const services = (index: number): Promise<Service[]> => host(index).weftJson<Service[]>('service', 'ls');
  const warnings = async (index: number): Promise<string[]> =>
    (await host(index).weftJson<Status>('status')).Warnings.filter((line) => line.includes('label'));
  const serve = async (index: number, container: string): Promise<void> => {
    const { SandboxKey: netns } = (await docker(index).inspect(container)).NetworkSettings;
    await serveInNamespace(host(index), netns, container, 9000);
  };
  const answers = (index: number): Promise<Record<string, number>> => tally(host(2), host(index).address, 8080, 10);

  before(async () => {
    for (const name of ['front', 'back']) await host(1).weft('network', 'create', name);
    dockers = await Promise.all(stage.lab.hosts.map((each) => Docker.start(each)));
    await Promise.all(dockers.map((each) => each.importImage()));
    await eventually('the networks in both Dockers', async () => {
      const lists = await Promise.all(dockers.map(async (each) => (await each.exec(['network', 'ls'])).stdout));
      return lists.every((text) => / front /.test(text) && / back /.test(text)) || undefined;
    });
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  it('are published on all nodes when a container of a manager asks for them, and stay so through restarts', async () => {
    const labels = ['--label', 'weft.publish=8080:9000', '--label', 'com.docker.compose.service=web'];
    await docker(1).run(['--network', 'front', '--network-alias', 'web', ...labels, '--name', 'web-1']);
    await serve(1, 'web-1');
    for (const index of [1, 2]) {
      await eventually(`host ${index} to answer for the container`, async () => {
        const found = await answers(index);
        return found[`web-1 ${host(2).address}`] === 10;
      });
    }
    assert.match(
      (await host(1).weft('service', 'ls')).stdout,
      /^web +front +dnsrr +1\/1 +\d+\/\d+ +\*:8080->9000\/tcp \(label\)/m,
    );
    assert.match(await refusal(host(1), 'unpublish', 'web'), /published by the label of containers\n.*a minute after/);

    await docker(1).exec(['restart', '--time', '0', 'web-1']);
    await host(1).stopAgent();
    await host(1).startAgent();
    await settled(stage.lab);
    await serve(1, 'web-1');
    await eventually('the container to be there again', async () => {
      const found = await answers(2);
      return found[`web-1 ${host(2).address}`] === 10;
    });
    const [web, ...more] = await services(2);
    assert.deepEqual([web?.Name, web?.Ports.map(({ ByLabel }) => ByLabel), more], ['web', [true], []]);
    assert.deepEqual(await warnings(1), []);
  });

  it('stopped_container_kept_the_old_ingress: one that is stopped starts where ingress was made anew meanwhile', async () => {
    const ingress = async (): Promise<string> =>
      (await docker(1).exec(['network', 'inspect', '--format', '{{.Id}}', 'ingress'])).stdout.trim();
    const before = await ingress();
    await docker(1).exec(['stop', '--time', '0', 'web-1']);
    // As `docker network prune` does.
    await docker(1).exec(['network', 'rm', 'ingress'], { check: false });
    await eventually('ingress to be there again', async () => (await ingress()) !== before);
    await eventually('the container to know nothing of the old one', async () => {
      const { Networks: networks } = (await docker(1).inspect('web-1')).NetworkSettings;
      return !('ingress' in networks);
    });
    await docker(1).exec(['start', 'web-1']);
    await serve(1, 'web-1');
    await eventually('it to be published again', async () => (await answers(2))[`web-1 ${host(2).address}`] === 10);
  });

  it('are named where they cannot be: on a worker, and where nobody says which network is meant', async () => {
    const label = ['--label', 'weft.publish=8443:443'];
    await docker(2).run(['--network', 'front', ...label, '--name', 'far']);
    await eventually('the worker to say so', async () =>
      (await warnings(2)).some((line) => /container far asks .* not a manager/.test(line)),
    );
    await docker(1).exec(['create', '--network', 'front', ...label, '--name', 'both', IMAGE]);
    await docker(1).exec(['network', 'connect', 'back', 'both']);
    await docker(1).exec(['start', 'both']);
    await eventually('the manager to ask which network', async () =>
      (await warnings(1)).some((line) => /container both .* on the networks back, front: .*weft\.network/.test(line)),
    );
    assert.equal((await services(1)).length, 1);
    await docker(1).exec(['network', 'disconnect', 'front', 'both']);
    await eventually('the port on the network that is left', async () =>
      (await services(2)).some(({ Name, Network }) => Name === 'both' && Network === 'back'),
    );
    assert.deepEqual(await warnings(1), []);
  });

  it('are published for a worker that a manager allows it, as long as it does', async () => {
    const [two] = [host(2)];
    assert.match((await warnings(2)).join(), new RegExp(`weft node update --label-add weft.publish=allow ${two.name}`));
    await host(1).weft('node', 'update', '--label-add', 'weft.publish=allow', two.name);
    // `both` has that port already; what is refused the manager says that publishes for the worker.
    await eventually('the manager to name the port that another has', async () =>
      (await warnings(1)).some((line) => /^far asks .* port 8443\/tcp .* by service both on network back$/.test(line)),
    );
    await eventually('no warning on the worker', async () => (await warnings(2)).length === 0);
    const label = ['--label', 'weft.publish=8081:9000'];
    await docker(2).run(['--network', 'front', ...label, '--name', 'near']);
    await serve(2, 'near');
    for (const index of [1, 2]) {
      await eventually(`host ${index} to answer for the worker's container`, async () => {
        const found = await tally(two, host(index).address, 8081, 10);
        return found[`near ${two.address}`] === 10;
      });
    }
    await host(1).weft('node', 'update', '--label-rm', 'weft.publish', two.name);
    await eventually('the worker to say that it is not heard', async () => (await warnings(2)).length === 2);
    assert.deepEqual(await warnings(1), []);
  });

  it('a container that asks for a virtual address is led to containers of both hosts by turns', async () => {
    for (const index of [1, 2]) {
      await docker(index).run(['--network', 'back', '--network-alias', 'db', '--name', `db-${index}`]);
      await serve(index, `db-${index}`);
    }
    await docker(2).run(['--network', 'back', '--name', 'client']);
    const inside = async (): Promise<Pick<Host, 'exec'>> => {
      const { SandboxKey: netns } = (await docker(2).inspect('client')).NetworkSettings;
      return { exec: (...command) => host(2).execIn(netns, ...command) };
    };
    const client = await inside();
    await settled(stage.lab);
    await host(1).weftJson('publish', '--network', 'back', '--vip', 'db');
    await settled(stage.lab);
    const [db] = await host(2).weftJson<Service[]>('service', 'inspect', '--network', 'back', 'db');
    const address = db?.VirtualIPs[0]?.Addr.replace(/\/.*/, '') ?? '';
    const names = async (): Promise<Record<string, number>> =>
      Object.fromEntries(
        Object.entries(await tally(client, address, 9000, 20)).map(([answer, count]) => [answer.split(' ')[0], count]),
      );
    await eventually('both to be asked', async () => Object.keys(await names()).length === 2);
    const asked = await names();
    // The last packet of a connection that was forgotten meanwhile takes a turn, too.
    for (const name of ['db-1', 'db-2']) assert.ok(Math.abs((asked[name] ?? 0) - 10) <= 2, JSON.stringify(asked));
    await docker(1).exec(['rm', '-f', 'db-1']);
    await eventually('the other alone to be asked', async () => (await names())['db-2'] === 20);

    await docker(2).exec(['restart', '--time', '0', 'client']);
    const restarted = await inside();
    const tables = async (): Promise<string> => (await restarted.exec('nft', ['list', 'tables'])).stdout;
    await eventually('the table in it', async () => (await tables()).includes('weft_vip'));
    assert.deepEqual(Object.values(await tally(restarted, address, 9000, 10)), [10]);
    await host(1).weftJson('unpublish', '--network', 'back', 'db');
    await eventually('nothing to be left in it', async () => !(await tables()).includes('weft'));
  });
});
