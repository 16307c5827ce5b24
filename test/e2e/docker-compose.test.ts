import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import type { Endpoint, Status } from '../../agent/api/schema.ts';
import { Docker, IMAGE } from '../lab/docker.ts';
import type { Host } from '../lab/host.ts';
import { eventually, type Output } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

const service = (networks: string): string =>
  `    image: ${IMAGE}\n    stop_signal: SIGKILL\n    networks: ${networks}\n`;
/** Makes its networks by our driver, with our addresses. */
const SHOP = `version: "3.5"
services:
  db:
${service('{ backend: { aliases: [database] } }')}
  web:
${service('[frontend, backend]')}
networks:
  frontend: { driver: weft, name: frontend, ipam: { driver: weft } }
  backend:
    driver: weft
    ipam: { driver: weft }
    driver_opts: { com.docker.network.driver.mtu: "1400" }
    labels: { tier: data }
`;
/** With addresses of Docker's choice, until the network is made again. */
const PLAIN = `version: "3.5"
services:
  lone:
${service('[plain]')}
networks:
  plain: { driver: weft }
`;
/** Uses what is there. */
const REPORTS = `version: "3.5"
services:
  report:
${service('[shop_backend]')}
networks:
  shop_backend: { external: true }
`;

describe('docker-compose across hosts', { timeout: 150_000 }, () => {
  const stage = useLab({ hosts: 2, cluster: { managers: 2 } });
  let dockers: readonly Docker[] = [];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const host = (index: number): Host => stage.lab.host(index);
  const writeFile = (on: Host, path: string, text: string): Promise<unknown> =>
    on.exec('node', [
      '-e',
      'fs.mkdirSync(path.dirname(process.argv[1]), { recursive: true }); fs.writeFileSync(...process.argv.slice(1))',
      ...[path, text],
    ]);
  before(async () => {
    dockers = await Promise.all(stage.lab.hosts.map((each) => Docker.start(each)));
    for (const [index, each] of dockers.entries()) {
      await each.importImage();
      assert.equal((await each.host.weft('docker', 'setup', '--yes')).exitCode, 0);
      await each.restart();
      await writeFile(each.host, '/run/compose.yml', index === 0 ? SHOP : REPORTS);
      await writeFile(each.host, '/run/plain.yml', PLAIN);
    }
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  /** Containers' names are `shop_db_1` until Compose 1, and `shop-db-1` since. */
  let separator = '';
  const named = (name: string): string => name.replaceAll('-', separator);
  const compose = (on: number, project: string, ...args: string[]): Promise<Output> => {
    const file = project === 'plain' ? '/run/plain.yml' : '/run/compose.yml';
    return host(on).exec('docker-compose', ['-f', file, '-p', project, ...args], { timeoutMs: 60_000 });
  };
  const endpoints = (network: string): Promise<Endpoint[]> => host(2).api.call('endpointList', { query: { network } });
  const found = async (on: number, container: string, name: string): Promise<string[]> => {
    const { stdout } = await docker(on).execIn(container, 'nslookup', [name], { check: false });
    return [...stdout.slice(stdout.indexOf('Name:')).matchAll(/^Address: (\S+)$/gm)].map(([, ip]) => ip ?? '').sort();
  };

  it('`driver: weft` makes the networks, for this host and all others', async () => {
    await compose(1, 'shop', 'up', '--detach', '--scale', 'web=2');
    const { stdout: names } = await docker(1).exec(['ps', '--format', '{{.Names}}']);
    separator = /^shop(.)db/m.exec(names)?.[1] ?? '';
    const [backend] = await host(2)
      .api.call('networkList')
      .then((all) => all.filter(({ Name }) => Name === 'shop_backend'));
    assert.equal(backend?.Labels['tier'], 'data');
    assert.equal(backend?.Labels['com.docker.compose.network'], 'backend');
    await eventually('the networks in the other Docker', async () => {
      const { stdout } = await docker(2).exec(['network', 'ls', '--filter', 'driver=weft', '--format', '{{.Name}}']);
      return ['frontend', 'shop_backend'].every((name) => stdout.split('\n').includes(name));
    });
  });

  it('`external: true` uses them; services, aliases and each of their containers resolve across', async () => {
    await compose(2, 'reports', 'up', '--detach');
    await settled(stage.lab);
    const wanted = ['reports-report-1', 'shop-db-1', 'shop-web-1', 'shop-web-2'].map(named).join();
    const all = await eventually(`${wanted} on host 1`, async () => {
      const found = await endpoints('shop_backend');
      const names = found.map(({ Name }) => Name).sort();
      if (names.join() === wanted) return found;
      throw new Error(names.join());
    });
    const ips = (...names: string[]): string[] =>
      all
        .filter(({ Name }) => names.map(named).includes(Name))
        .map(({ IPv4Address }) => IPv4Address.replace(/\/.*/, ''))
        .sort();
    for (const [name, wanted] of Object.entries({
      db: ips('shop-db-1'),
      database: ips('shop-db-1'),
      web: ips('shop-web-1', 'shop-web-2'),
      'tasks.web': ips('shop-web-1', 'shop-web-2'),
      [named('shop-web-2')]: ips('shop-web-2'),
    }))
      await eventually(
        `${name} to resolve`,
        async () => (await found(2, named('reports-report-1'), name)).join() === wanted.join(),
      );
    await docker(2).execIn(named('reports-report-1'), 'ping', ['-c1', '-W2', 'database']);
    await eventually('the other way', async () => (await found(1, named('shop-db-1'), 'report')).length === 1);
  });

  it('a second `up` finds all as it is', async () => {
    const before = await docker(1).exec(['ps', '--quiet', '--no-trunc']);
    await compose(1, 'shop', 'up', '--detach', '--scale', 'web=2');
    assert.equal((await docker(1).exec(['ps', '--quiet', '--no-trunc'])).stdout, before.stdout);
  });

  it('`driver: weft` alone will do, once the network is the one of the cluster', async () => {
    await compose(1, 'plain', 'up', '--no-start');
    await eventually('the network with our addresses', async () => {
      const { stdout } = await docker(1).exec(['network', 'inspect', 'plain_plain'], { check: false });
      return JSON.parse(stdout)[0]?.IPAM.Driver === 'weft';
    });
    for (let time = 0; time < 2; time += 1) await compose(1, 'plain', 'up', '--detach');
    await settled(stage.lab);
    assert.equal((await endpoints('plain_plain')).length, 1);
    await compose(1, 'plain', 'down');
  });

  it('`down` takes the networks away everywhere, when nobody is on them any more', async () => {
    await compose(2, 'reports', 'down');
    await settled(stage.lab);
    await compose(1, 'shop', 'down');
    await eventually('the networks gone in both Dockers', async () => {
      const lists = await Promise.all(
        dockers.map((each) => each.exec(['network', 'ls', '--filter', 'driver=weft', '--format', '{{.Name}}'])),
      );
      const names = lists.map(({ stdout }) => stdout.trim().split('\n').join(', '));
      if (names.every((each) => each === 'ingress')) return true;
      throw new Error(names.join('; '));
    });
    for (const each of stage.lab.hosts) {
      const { Warnings: warnings } = await each.weftJson<Status>('status');
      assert.deepEqual(warnings, []);
    }
  });
});
