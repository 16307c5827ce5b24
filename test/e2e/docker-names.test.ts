import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { Docker } from '../lab/docker.ts';
import { digIn, nameserver } from '../lab/names.ts';
import { eventually } from '../lab/process.ts';
import { glibc, importResolverImages, type Libc, musl } from '../lab/resolver-images.ts';
import { settled, useLab } from '../lab/suite.ts';

const outside = '198.51.100.1';

describe('names of containers', { timeout: 180_000 }, () => {
  const stage = useLab({ hosts: 2 });
  let dockers: readonly Docker[] = [];
  /** Where the agents of the two hosts answer. */
  let gateways: readonly string[] = [];
  const docker = (index: number): Docker => dockers[index - 1] as Docker;
  const addressesOf = async (index: number, container: string, network: string): Promise<[ip: string, ip6: string]> => {
    const { Networks } = (await docker(index).inspect(container)).NetworkSettings;
    return [Networks[network]?.IPAddress ?? '', Networks[network]?.GlobalIPv6Address ?? ''];
  };
  const addressOf = async (index: number, container: string, network = 'front'): Promise<string> =>
    (await addressesOf(index, container, network))[0];
  /** A container of host 2 on `front` that asks as programs of that C library do; it has its name. */
  const runAsker = (name: string, { image }: Libc, ...args: string[]) => {
    const asks = ['--network', 'front', '--dns', gateways[1] ?? '', '--stop-signal', 'SIGKILL'];
    return docker(2).exec(['run', '--detach', ...asks, ...args, '--name', name, image]);
  };
  /** What getaddrinfo(3) finds in a container of host 2: addresses, sorted, or `none`. */
  const found = async (container: string, { resolve }: Libc, name: string): Promise<readonly string[]> => {
    const [program, ...args] = resolve(name);
    const { stdout, exitCode } = await docker(2).execIn(container, program, args, { check: false });
    // getent(1): the key was not found, and nothing more is told.
    if (program === 'getent' && exitCode === 2) return ['none'];
    return [...new Set(stdout.split('\n').flatMap((line) => line.split(' ')[0] || []))].sort();
  };

  /** Namespace of the container `musl`. */
  let netns = '';
  const ask = (...args: string[]) => digIn(stage.lab.host(2), netns, ...args);
  /** Asks from inside a container of host 2 until the answer is as wanted: status, then data. */
  const becomes = (wanted: string, ...args: string[]): Promise<unknown> =>
    eventually(`dig ${args.join(' ')} to say ${wanted}`, async () => {
      const { status, data } = await ask(...args);
      const said = [status, ...data].join(' ');
      if (said === wanted) return true;
      throw new Error(said);
    });

  before(async () => {
    const { lab } = stage;
    await nameserver(lab, outside);
    const resolvConf = { input: `nameserver ${outside}\n` };
    await Promise.all(lab.hosts.map((host) => host.exec('tee', ['/etc/resolv.conf'], resolvConf)));
    await lab.host(1).weft('network', 'create', 'front');
    await lab.host(1).weft('network', 'create', '--ipv6', 'dual');
    dockers = await Promise.all(lab.hosts.map((each) => Docker.start(each)));
    await Promise.all([docker(1).importImage(), importResolverImages(docker(2))]);
    await eventually('the networks in both Dockers', async () => {
      const lists = await Promise.all(dockers.map(async (each) => (await each.exec(['network', 'ls'])).stdout));
      return lists.every((text) => / front /.test(text) && / dual /.test(text)) || undefined;
    });
    const asked = ['network', 'inspect', '-f', '{{(index .IPAM.Config 0).Gateway}}', 'docker_gwbridge'];
    gateways = (await Promise.all(dockers.map((each) => each.exec(asked)))).map(({ stdout }) => stdout.trim());
    await Promise.all(
      [musl, glibc].map(async (libc) => {
        await runAsker(libc.name, libc);
        await docker(2).exec(['network', 'connect', 'dual', libc.name]);
      }),
    );
    netns = (await docker(2).inspect('musl')).NetworkSettings.SandboxKey;
  });
  after(() => Promise.all(dockers.map((each) => each[Symbol.asyncDispose]())));

  it("resolve by musl's and by glibc's getaddrinfo, across hosts", async () => {
    const named = ['--network-alias', 'store', '--network-alias', 'shop', '--hostname', 'sql.example'];
    await Promise.all([
      docker(1).run(['--network', 'front', ...named, '--name', 'db']),
      docker(1).run(['--network', 'dual', '--network-alias', 'shop', '--name', 'both']),
      docker(1).run(['--network', 'front', '--network-alias', 'shop', '--name', 'Other']),
    ]);
    const [db, other, both] = [
      await addressOf(1, 'db'),
      await addressOf(1, 'Other'),
      await addressesOf(1, 'both', 'dual'),
    ];
    const cases: readonly (readonly [name: string, ...wanted: string[]])[] = [
      ...['db', 'DB.front', 'store', 'sql.example', 'tasks.db'].map((name) => [name, db] as const),
      // Of a name with IPv4 alone the lack of IPv6 must not be the lack of the name: musl would take it for both.
      ['other', other],
      ['both', ...both],
      ['shop', db, other, ...both],
      ['www.example', '192.0.2.1'],
      ['nothing.example', 'none'],
      ['nothing', 'none'],
      ['nothing.front', 'none'],
    ];
    await eventually(
      'the names to be there',
      async () => (await found('musl', musl, 'shop')).length === 4 || undefined,
    );
    for (const [name, ...wanted] of cases) {
      const said = await Promise.all([found('musl', musl, name), found('glibc', glibc, name)]);
      assert.deepEqual(said, [wanted.sort(), wanted], name);
    }
    // More than UDP takes: musl before 1.2.4 is content with what fits, and later with 48.
    assert.equal((await found('glibc', glibc, 'big.example')).length, 100);
    assert.ok((await found('musl', musl, 'big.example')).length >= 30);
  });

  it('resolve for a program that asks as soon as it runs, before Docker lists its container', async () => {
    const db = await addressOf(1, 'db');
    const [program, name] = musl.resolve('db');
    const once = (network: string, asked: string) => {
      const asks = ['--network', network, '--dns', gateways[1] ?? ''];
      return docker(2).exec(['run', '--rm', ...asks, musl.image, program, asked], { check: false });
    };
    const all = await Promise.all([1, 2, 3].map(() => once('front', name ?? '')));
    assert.deepEqual(
      all.map(({ stdout }) => stdout.trim()),
      [db, db, db],
    );
    // Docker gives whoever has another way out no address on docker_gwbridge, as with the default network of a Compose file.
    await docker(2).exec(['network', 'create', 'plain']);
    const asks = ['--network', 'plain', '--dns', gateways[1] ?? ''];
    await docker(2).exec(['create', ...asks, '--name', 'two', musl.image, 'sh', '-c', `${program} db; ip route`]);
    await docker(2).exec(['network', 'connect', 'front', 'two']);
    const { stdout } = await docker(2).exec(['start', '--attach', 'two']);
    const onGateway = gateways[1]?.replace(/\.\d+\.\d+$/, '.') ?? '';
    assert.deepEqual([stdout.split('\n')[0], stdout.includes(onGateway)], [db, false], stdout);
    assert.equal((await docker(2).exec(['start', '--attach', 'two'])).stdout.split('\n')[0], db);
    assert.equal((await once('plain', 'db')).stdout.trim(), 'none', 'not on the network');
    await docker(2).exec(['rm', 'two']);
    await docker(2).exec(['network', 'rm', 'plain']);
    // Who is on docker_gwbridge and no network of ours is told what the host knows.
    assert.equal((await once('docker_gwbridge', 'www.example')).stdout.trim(), '192.0.2.1');
    assert.equal((await once('docker_gwbridge', 'db')).stdout.trim(), 'none');
  });

  it('resolve with search domains as the C library and Docker have it', async () => {
    await Promise.all([
      runAsker('musl-search', musl, '--dns-search', 'example'),
      runAsker('glibc-search', glibc, '--dns-search', 'example'),
      runAsker('glibc-ndots', glibc, '--dns-search', 'example', '--dns-option', 'ndots:1'),
    ]);
    const db = await addressOf(1, 'db');
    await docker(2).exec(['network', 'connect', 'dual', 'musl-search']);
    assert.equal(
      (await found('musl-search', musl, 'both')).length,
      2,
      'of a network from the moment on that it is joined',
    );
    // Docker writes `ndots:0`, with which musl does not search at all.
    assert.deepEqual(await found('glibc-search', glibc, 'sql'), [db]);
    assert.deepEqual(await found('musl-search', musl, 'sql'), ['none']);
    for (const libc of [musl, glibc]) assert.deepEqual(await found(`${libc.name}-search`, libc, 'db'), [db]);
    // Whoever says otherwise keeps Docker from asking anybody for names without a dot.
    assert.deepEqual(await found('glibc-ndots', glibc, 'sql'), [db]);
    assert.deepEqual(await found('glibc-ndots', glibc, 'db'), ['none']);
    await docker(2).exec(['rm', '-f', 'musl-search', 'glibc-search', 'glibc-ndots']);
  });

  it("of a host's own containers are answered by its Docker, without those of others; `tasks.` asks for all", async () => {
    const beside = ['--network', 'front', '--network-alias', 'store', '--stop-signal', 'SIGKILL', '--name', 'beside'];
    await docker(2).exec(['run', '--detach', ...beside, musl.image]);
    const [db, own] = [await addressOf(1, 'db'), await addressOf(2, 'beside')];
    await eventually(
      'both to be there',
      async () => (await found('musl', musl, 'tasks.store')).length === 2 || undefined,
    );
    for (const libc of [musl, glibc]) {
      assert.deepEqual(await found(libc.name, libc, 'store'), [own]);
      assert.deepEqual(await found(libc.name, libc, 'tasks.store'), [db, own].sort());
    }
    await docker(1).exec(['rm', '-f', 'db', 'both', 'Other']);
    await docker(2).exec(['rm', '-f', 'beside']);
  });

  it('on an internal network are those of the own host alone, and `weft status` says so', async () => {
    await stage.lab.host(1).weft('network', 'create', '--internal', 'shut');
    await eventually('the network in both Dockers', async () => {
      const lists = await Promise.all(dockers.map(async (each) => (await each.exec(['network', 'ls'])).stdout));
      return lists.every((text) => / shut /.test(text)) || undefined;
    });
    const warned = async (): Promise<readonly string[]> =>
      (await stage.lab.host(2).api.call('status')).Warnings.filter((line) => line.includes('internal network shut'));
    const on = ['--detach', '--network', 'shut', '--dns', gateways[1] ?? '', '--stop-signal', 'SIGKILL'];
    for (const name of ['in', 'near']) await docker(2).exec(['run', ...on, '--name', name, glibc.image]);
    await settled(stage.lab);
    assert.deepEqual(await warned(), [], 'while both are of one host');
    await docker(1).run(['--network', 'shut', '--name', 'far']);
    await eventually('a warning', async () => (await warned()).length === 1 || undefined);
    assert.match(
      (await warned())[0] ?? '',
      /have no names for (in, near|near, in): .*connect them to a network that leads out/,
    );
    assert.deepEqual(await found('in', glibc, 'near'), [await addressOf(2, 'near', 'shut')]);
    // Docker 20.10 does not reply at all, for which a C library waits ten seconds.
    const { SandboxKey: within } = (await docker(2).inspect('in')).NetworkSettings;
    assert.deepEqual((await digIn(stage.lab.host(2), within, '+time=1', 'far')).data, []);
    await docker(2).exec(['rm', '-f', 'near']);
    await docker(2).exec(['network', 'connect', 'front', 'in']);
    assert.deepEqual(await found('in', glibc, 'far'), [await addressOf(1, 'far', 'shut')]);
    await eventually('no warning', async () => (await warned()).length === 0 || undefined);
    await Promise.all([docker(1).exec(['rm', '-f', 'far']), docker(2).exec(['rm', '-f', 'in'])]);
  });

  it('lead to one with a health check that asks for it only while that succeeds', async () => {
    const check = ['--health-cmd', 'test -e /tmp/ok', '--health-interval', '300ms', '--health-retries', '1'];
    const asks = ['--network', 'front', '--network-alias', 'store', '--label', 'weft.dns=healthy'];
    await docker(1).run([...asks, ...check, '--name', 'db']);
    await docker(1).run([...asks, '--name', 'unchecked']);
    await docker(1).run(['--network', 'front', '--network-alias', 'store', ...check, '--name', 'careless']);
    await settled(stage.lab);
    const [db, ...others] = [await addressOf(1, 'db'), await addressOf(1, 'unchecked'), await addressOf(1, 'careless')];
    await becomes(`NOERROR ${others.sort().join(' ')}`, 'store');
    await becomes('NXDOMAIN', 'db');
    await becomes('NXDOMAIN', 'tasks.db.front');
    assert.match((await stage.lab.host(2).weft('endpoint', 'ls')).stdout, /\bdb \(not ready\) /);
    // It is there all the same.
    await becomes('NOERROR db.front.', '-x', db);
    assert.equal((await docker(2).execIn('musl', 'ping', ['-c1', '-W2', db])).exitCode, 0);

    await docker(1).execIn('db', 'touch', ['/tmp/ok']);
    await becomes(`NOERROR ${db}`, 'db');
    await becomes(`NOERROR ${[db, ...others].sort().join(' ')}`, 'store');
    await docker(1).execIn('db', 'rm', ['/tmp/ok']);
    await becomes('NXDOMAIN', 'db');

    // What happens while no agent looks is seen when one does again.
    await stage.lab.host(1).stopAgent();
    await docker(1).execIn('db', 'touch', ['/tmp/ok']);
    await eventually(
      'Docker to find it healthy',
      async () => /\(healthy\).* db$/m.test((await docker(1).exec(['ps'])).stdout) || undefined,
    );
    await stage.lab.host(1).startAgent();
    await becomes(`NOERROR ${db}`, 'db');
    await docker(1).exec(['rm', '-f', 'db', 'unchecked', 'careless']);
  });

  it('tell where a service is, of what a container publishes or exposes', async () => {
    const ports = ['-p', '8080:80', '--expose', '5432', '--expose', '53/udp'];
    await docker(1).run(['--network', 'front', '--network-alias', 'shop', ...ports, '--name', 'web']);
    const web = await addressOf(1, 'web');
    await becomes('NOERROR 0 1 80 web.front.', '-t', 'SRV', '_80._tcp.web');
    assert.deepEqual((await ask('-t', 'SRV', '_5432._tcp.shop')).additional, [web]);
    await becomes('NOERROR 0 1 53 web.front.', '-t', 'SRV', '_53._udp.shop.front');
    await becomes('NXDOMAIN', '-t', 'SRV', '_8080._tcp.web');
    // What runs on its own host asks Docker, which knows of no services and asks us.
    await docker(1).run(['--network', 'front', '--name', 'beside', '--dns', gateways[0] ?? '']);
    const { SandboxKey: beside } = (await docker(1).inspect('beside')).NetworkSettings;
    const { data } = await digIn(stage.lab.host(1), beside, '-t', 'SRV', '_80._tcp.web');
    assert.deepEqual(data, ['0 1 80 web.front.']);
    await docker(1).exec(['rm', '-f', 'web', 'beside']);
  });
});
