import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type { Network } from '../../../agent/api/schema.ts';
import { FakeAgent, type Seen } from './fake-agent.ts';
import { failing, type Outcome, ok, weft } from './harness.ts';
import { networks as canned } from './replies.ts';

const recorded = JSON.parse(readFileSync('test/fixtures/docker-swarm.json', 'utf8'));

let agent: FakeAgent;
let directory = '';
let docker: Server;
/** Of the nodes that were recorded, the one that answers. */
let node: 'manager' | 'worker' = 'manager';
before(async () => {
  agent = await FakeAgent.start();
  directory = await mkdtemp(join(tmpdir(), 'weft-import-'));
  docker = createServer(({ url = '' }, response) => {
    const path = url.replace(/^\/v[\d.]+|\?.*$/g, '');
    const body = path === '/version' ? { ApiVersion: '1.41' } : recorded[node][path.slice(1)];
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => docker.listen(join(directory, 'docker.sock'), resolve));
});
after(async () => {
  docker.closeAllConnections();
  await new Promise((resolve) => docker.close(resolve));
  await rm(directory, { recursive: true });
  await agent[Symbol.asyncDispose]();
});
beforeEach(() => {
  node = 'manager';
  agent.seen.length = 0;
  agent.answers.clear();
  agent.answers.set('networkList', { status: 200, body: [canned[0]] });
});

const socket = (): string => join(directory, 'docker.sock');
const words = (...more: string[]): string[] => ['import', 'swarm', '--docker-socket', socket(), ...more];
const run = (...more: string[]): Promise<Outcome> => failing(agent, words(...more));
const made = (): unknown[] =>
  agent.seen.flatMap(({ name, path, body }) => (name === 'networkList' ? [] : [[path, body]]));
const plain = { ...canned[1], Name: 'plain', Labels: {} } as Network;

test('a script of what is to be made, with what is not in comments', async () => {
  agent.answers.set('networkList', { status: 200, body: [plain] });
  const { code, stdout, stderr } = await run('plain', 'full', 'opts', 'two', 'secret', 'ingress');
  assert.deepEqual([code, stderr], [0, '']);
  assert.equal(
    stdout.replaceAll(socket(), '/docker.sock'),
    `# The networks of the Swarm of Docker at /docker.sock, to be made on a manager of Weft; --create makes them.

weft network create --attachable --subnet 10.60.0.0/24 --gateway 10.60.0.9 --ip-range 10.60.0.128/25 --opt com.docker.network.driver.mtu=1400 --label com.docker.stack.namespace=shop --label 'team=a b "c"' full
# opts: left out: option foo=bar: overlays here have none of that name
weft network create --subnet 10.0.5.0/24 --gateway 10.0.5.1 opts
weft network create --subnet 10.61.0.0/24 --gateway 10.61.0.1 two
weft network update --subnet-add 10.62.0.0/24 --gateway 10.62.0.1 two

# plain is there already
# secret cannot be made: it is encrypted, and networks here cannot be yet; where its traffic may be read on the way, make it yourself: \`weft network create\`
# ingress: every cluster has its own ingress, in a subnet of its own

# A Docker that has a network of the Swarm cannot have ours of that name: \`docker network rm\` it when nothing is on it any more.
`,
  );
  assert.deepEqual(made(), []);
});

test('networks are chosen by name or id; one that is not there is told, and the others shown', async () => {
  const id: string = recorded.manager.networks.find(({ Name }: { Name: string }) => Name === 'inner').Id;
  const { code, stdout, stderr } = await run(id.slice(0, 8), 'none', 'inner');
  assert.deepEqual([code, stderr.split('\n')[0]], [1, 'weft: the Swarm has no network none']);
  assert.equal(stdout.match(/^weft /gm)?.length, 1);
});

test('without an agent it is a plan all the same; to make it one is needed', async () => {
  const nobody = { env: { WEFT_HOST: '/nowhere' } };
  const { code, stdout, stderr } = await weft(words(), nobody);
  assert.deepEqual([code, stdout.match(/^weft network create /gm)?.length], [0, 7]);
  assert.match(stderr, /^weft: no agent is running at \/nowhere: .*; what Weft has already is not known\n$/);
  const make = await weft(words('--create'), nobody);
  assert.deepEqual([make.code, make.stdout], [3, '']);
});

test('a worker of the Swarm says that it knows a part', async () => {
  node = 'worker';
  const { code, stdout, stderr } = await run();
  assert.equal(code, 0);
  assert.match(
    stderr,
    /it is a worker of the Swarm, and knows only the networks that are in use there: a manager knows all/,
  );
  assert.equal(stdout.match(/^weft /gm)?.length, 1);
  const document = JSON.parse(await ok(agent, words('--json')));
  assert.deepEqual([document.Manager, document.Complete], [false, false]);
});

test('--create makes what is not there, and its further subnets', async () => {
  agent.answers.set('networkList', { status: 200, body: [plain] });
  agent.answers.set('networkCreate', { status: 200, body: { Id: 'n1', Warning: '' } });
  assert.equal(
    await ok(agent, words('--create', 'plain', 'two', 'inner', 'docker_gwbridge')),
    `plain is there already
two: made
inner: made
docker_gwbridge: the agent takes the one that is there, as it is
2 made, 2 there already
A Docker that has a network of the Swarm cannot have ours of that name: \`docker network rm\` it when nothing is on it any more.
`,
  );
  const config = (Subnet: string, Gateway: string) => ({ IPAM: { Config: [{ Subnet, Gateway }] } });
  assert.deepEqual(made(), [
    ['/v1/networks', { Name: 'two', ...config('10.61.0.0/24', '10.61.0.1') }],
    ['/v1/networks/n1/update', { SubnetAdd: { Subnet: '10.62.0.0/24', Gateway: '10.62.0.1' } }],
    ['/v1/networks', { Name: 'inner', Internal: true, ...config('10.0.2.0/24', '10.0.2.1') }],
  ]);
});

test('one that was left half made is given the rest', async () => {
  const two = {
    ...plain,
    Name: 'two',
    IPAM: { ...plain.IPAM, Config: [{ Subnet: '10.61.0.0/24', Gateway: '10.61.0.1' }] },
  };
  agent.answers.set('networkList', { status: 200, body: [two] });
  assert.match(await ok(agent, words('--create', 'two')), /^two: given 10\.62\.0\.0\/24\n1 made\n/);
  assert.deepEqual(made(), [
    ['/v1/networks/two/update', { SubnetAdd: { Subnet: '10.62.0.0/24', Gateway: '10.62.0.1' } }],
  ]);
});

test('--create goes on after a failure, and ends with 1', async () => {
  const answer = ({ body }: Seen) =>
    (body as { Name: string }).Name === 'new-plain'
      ? { status: 507, body: { code: 'exhausted', message: 'no VNI is free', hint: 'wait' } }
      : { status: 200, body: { Id: 'n1', Warning: '' } };
  agent.answers.set('networkCreate', answer);
  const { code, stdout, stderr } = await run('--create', '--prefix', 'new-', 'plain', 'two', 'secret');
  assert.equal(code, 1);
  assert.match(stderr, /^weft: new-plain: no VNI is free\nwait\nweft: new-secret cannot be made: it is encrypted/);
  assert.match(stdout, /^new-two: made\n1 made, 1 cannot be made, 1 failed\n.*--network new-NAME/);
  const document = JSON.parse((await run('--create', '--json', '--prefix', 'new-', 'plain', 'two', 'secret')).stdout);
  assert.deepEqual(
    document.Networks.map(({ SwarmName, Name, State, ID }: Record<string, string>) => [SwarmName, Name, State, ID]),
    [
      ['plain', 'new-plain', 'failed', ''],
      ['two', 'new-two', 'created', 'n1'],
      ['secret', 'new-secret', 'refused', ''],
    ],
  );
});

test('where no network can be made, one failure is enough', async () => {
  agent.refuse('networkCreate', 403, 'not_manager', 'this node is not a manager', 'run it on a manager');
  const { code, stderr } = await run('--create');
  assert.deepEqual([code, stderr], [1, 'weft: full: this node is not a manager\nrun it on a manager\n']);
});

test('a Docker that is not there is told, and what to do', async () => {
  const { code, stderr } = await failing(agent, ['import', 'swarm', '--docker-socket', join(directory, 'none')]);
  assert.equal(code, 1);
  assert.match(stderr, /Docker does not run at .*none: start it with/);
});

test('its networks complete', async () => {
  const complete = async (...typed: string[]) =>
    (await ok(agent, ['__complete', '--', 'import', 'swarm', ...typed])).split('\n').map((line) => line.split('\t')[0]);
  assert.deepEqual(await complete('--docker-socket', socket(), 'six'), ['six-none', 'six', '']);
  assert.deepEqual(await complete(`--docker-socket=${socket()}`, 'plain', 'inn'), ['inner', '']);
  assert.deepEqual(await complete('--docker-socket', '/nowhere', ''), ['']);
  assert.deepEqual(await complete('--cr'), ['--create', '']);
});
