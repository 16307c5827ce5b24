import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Docker } from '../lab/docker.ts';
import { digIn } from '../lab/names.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

describe('names of containers', { timeout: 120_000 }, () => {
  const stage = useLab({ hosts: 2 });
  let dockers: readonly Docker[] = [];
  /** Where the agents of the two hosts answer. */
  let gateways: readonly string[] = [];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const addressOf = async (index: number, container: string, network: string): Promise<string> =>
    (await docker(index).inspect(container)).NetworkSettings.Networks[network]?.IPAddress ?? '';

  /** Asks from inside a container of host 2 until the answer is as wanted: status, then data. */
  const becomes = (wanted: string, ...args: string[]): Promise<unknown> =>
    eventually(`dig ${args.join(' ')} to say ${wanted}`, async () => {
      const { status, data } = await digIn(docker(2), 'app', ...args);
      const said = [status, ...data].join(' ');
      if (said === wanted) return true;
      throw new Error(said);
    });

  before(async () => {
    const [one] = stage.lab.hosts;
    await one?.weft('network', 'create', 'front');
    dockers = await Promise.all(stage.lab.hosts.map((each) => Docker.start(each)));
    await Promise.all(dockers.map((each) => each.importImage()));
    const networks = async (of: Docker): Promise<string> => (await of.exec(['network', 'ls'])).stdout;
    await eventually('front in both Dockers', async () =>
      (await Promise.all(dockers.map(networks))).every((text) => text.includes(' front ')),
    );
    const asked = ['network', 'inspect', '-f', '{{(index .IPAM.Config 0).Gateway}}', 'docker_gwbridge'];
    gateways = (await Promise.all(dockers.map((each) => each.exec(asked)))).map(({ stdout }) => stdout.trim());
    await docker(2).run(['--network', 'front', '--name', 'app', '--dns', gateways[1] ?? '']);
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  it('lead to one with a health check that asks for it only while that succeeds', async () => {
    const check = ['--health-cmd', 'test -e /tmp/ok', '--health-interval', '300ms', '--health-retries', '1'];
    const asks = ['--network', 'front', '--network-alias', 'store', '--label', 'weft.dns=healthy'];
    await docker(1).run([...asks, ...check, '--name', 'db']);
    await docker(1).run([...asks, '--name', 'unchecked']);
    await docker(1).run(['--network', 'front', '--network-alias', 'store', ...check, '--name', 'careless']);
    await settled(stage.lab);
    const [db, unchecked, careless] = await Promise.all(
      ['db', 'unchecked', 'careless'].map((name) => addressOf(1, name, 'front')),
    );
    await becomes(`NOERROR ${[unchecked, careless].sort().join(' ')}`, 'store');
    await becomes('NXDOMAIN', 'db');
    await becomes('NXDOMAIN', 'tasks.db.front');
    // It is there all the same.
    await becomes('NOERROR db.front.', '-x', `${db}`);
    assert.equal((await docker(2).execIn('app', 'ping', ['-c1', '-W2', `${db}`])).exitCode, 0);

    await docker(1).execIn('db', 'touch', ['/tmp/ok']);
    await becomes(`NOERROR ${db}`, 'db');
    await becomes(`NOERROR ${[db, unchecked, careless].sort().join(' ')}`, 'store');
    await docker(1).execIn('db', 'rm', ['/tmp/ok']);
    await becomes('NXDOMAIN', 'db');

    // What happens while no agent looks is seen when one does again.
    await stage.lab.host(1).stopAgent();
    await docker(1).execIn('db', 'touch', ['/tmp/ok']);
    await eventually('Docker to find it healthy', async () =>
      (await docker(1).exec(['ps'])).stdout.includes('(healthy)'),
    );
    await stage.lab.host(1).startAgent();
    await becomes(`NOERROR ${db}`, 'db');
    await docker(1).exec(['rm', '-f', 'db', 'unchecked', 'careless']);
  });

  it('tell where a service is, of what a container publishes or exposes', async () => {
    const ports = ['-p', '8080:80', '--expose', '5432', '--expose', '53/udp'];
    await docker(1).run(['--network', 'front', '--network-alias', 'shop', ...ports, '--name', 'web']);
    const web = await addressOf(1, 'web', 'front');
    await becomes('NOERROR 0 1 80 web.front.', '-t', 'SRV', '_80._tcp.web');
    assert.deepEqual((await digIn(docker(2), 'app', '-t', 'SRV', '_5432._tcp.shop')).additional, [web]);
    await becomes('NOERROR 0 1 53 web.front.', '-t', 'SRV', '_53._udp.shop.front');
    await becomes('NXDOMAIN', '-t', 'SRV', '_8080._tcp.web');
    // What runs on its own host asks Docker, which knows of no services and asks us.
    await docker(1).run(['--network', 'front', '--name', 'beside', '--dns', gateways[0] ?? '']);
    assert.deepEqual((await digIn(docker(1), 'beside', '-t', 'SRV', '_80._tcp.web')).data, ['0 1 80 web.front.']);
    await docker(1).exec(['rm', '-f', 'web', 'beside']);
  });
});
