import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDockersChoice, requestFor } from '../../../agent/docker/adopt.ts';
import type { NetworkSpec } from '../../../agent/docker/client.ts';
import { namesOf } from '../../../agent/docker/containers.ts';
import { type Creation, type GatewayNetwork, mirrorPlan } from '../../../agent/docker/mirror-plan.ts';
import { Container, type DockerNetwork, Network as InDocker } from '../../../agent/docker/shapes.ts';
import type { MirroredNetwork } from '../../../agent/docker/state.ts';
import { parseSpace } from '../../../controlplane/addresses.ts';
import type { Network } from '../../../controlplane/tables/view.ts';

let made = 0;

/** As the tables have it, as far as it matters here. */
function network(
  name: string,
  subnets: readonly string[] = [`10.0.${made}.0/24`],
  more: Partial<Network> = {},
): Network {
  made += 1;
  const spaces = subnets.map((text) => ({
    space: parseSpace(text),
    gateway: text.replace(/0\/\d+$|\/\d+$/, '1'),
    ipRange: null,
    aux: {},
  }));
  return {
    id: `${name}${made}`,
    name,
    internal: false,
    labels: {},
    createdMs: made,
    subnets: spaces,
    ...more,
  } as never;
}

/** As Docker lists a network that it was asked to make. */
const listed = ({ name, driver, internal, options, labels, ipam }: NetworkSpec, Id = `id of ${name}`): DockerNetwork =>
  InDocker.parse({
    ...{ Id, Name: name, Driver: driver, Internal: internal, Options: options, Labels: labels },
    IPAM: {
      Driver: ipam?.driver,
      Options: ipam?.options,
      Config: ipam?.pools?.map(({ subnet }) => ({ Subnet: subnet })),
    },
  });

const none: ReadonlyMap<string, MirroredNetwork> = new Map();

/** What is remembered of those that Docker made. */
const knownAs = (made: readonly Creation[]): ReadonlyMap<string, MirroredNetwork> =>
  new Map(
    made.flatMap(({ of, spec }) =>
      of === null ? [] : [[`id of ${spec.name}`, { id: `id of ${spec.name}`, networkId: of }]],
    ),
  );

const theirs = (name: string): DockerNetwork => listed({ name, driver: 'bridge' });

test('a Docker that has nothing gets each network of the cluster, and then has nothing more to do', () => {
  const wanted = [
    network('frontend'),
    network('dual', ['10.1.0.0/24', 'fd00:1::/64'], { labels: { team: 'a' } }),
    network('wide', ['10.2.0.0/24', '10.3.0.0/24'], { internal: true }),
  ];
  const gateway: GatewayNetwork = {
    ...{ name: 'docker_gwbridge', subnet: '172.18.0.0/16', gateway: '172.18.0.1', range: '172.18.0.0/17' },
  };
  const { create, remove, objections } = mirrorPlan(wanted, gateway, [theirs('bridge')], none);
  assert.deepEqual(
    create.map(({ spec }) => spec.name),
    ['docker_gwbridge', 'frontend', 'dual', 'wide'],
  );
  assert.deepEqual([remove, objections], [[], []]);
  assert.deepEqual(
    create.map(({ spec: { ipv6 = false, internal = false } }) => [ipv6, internal]),
    [
      [false, false],
      [false, false],
      [true, false],
      [false, true],
    ],
  );
  assert.equal(create[0]?.spec.ipam?.pools?.[0]?.ipRange, '172.18.0.0/17');
  const after = [theirs('bridge'), ...create.map(({ spec }) => listed(spec))];
  assert.deepEqual(mirrorPlan(wanted, gateway, after, knownAs(create)), {
    adopt: [],
    remove: [],
    create: [],
    objections: [],
  });
});

test('what the cluster has no more, or has otherwise, goes; what is of another driver stays', () => {
  const [kept, changed, gone] = [network('kept'), network('changed'), network('gone')];
  const made = mirrorPlan([kept, changed, gone], null, [], none).create;
  const there = [theirs('own'), ...made.map(({ spec }) => listed(spec))];
  const now = { ...changed, labels: { new: 'yes' } };
  const plan = mirrorPlan([kept, now], null, there, knownAs(made));
  assert.deepEqual(
    plan.remove.map(({ name }) => name),
    ['changed', 'gone'],
  );
  assert.deepEqual(
    plan.create.map(({ spec }) => [spec.name, spec.labels]),
    [['changed', { new: 'yes' }]],
  );
});

test('a network that Docker has twice is removed once', () => {
  const one = network('one');
  const [made] = mirrorPlan([one], null, [], none).create;
  assert.ok(made);
  const known = new Map(['first', 'second'].map((id) => [id, { id, networkId: one.id }]));
  const plan = mirrorPlan([one], null, [listed(made.spec, 'first'), listed(made.spec, 'second')], known);
  assert.deepEqual([plan.remove.map(({ id }) => id), plan.create], [['second'], []]);
});

test('names that are taken are named, and of two networks of one name the older one has it', () => {
  const [older, younger] = [network('same'), network('same')];
  const plan = mirrorPlan([younger, older, network('bridge')], null, [theirs('bridge')], none);
  assert.deepEqual(
    plan.create.map(({ of }) => of),
    [older.id],
  );
  assert.deepEqual(plan.objections, [
    "Docker has another network bridge (driver bridge), and so not the cluster's: remove one of them",
  ]);
  // The half that has made the younger one hears of the other.
  const late = mirrorPlan([younger], null, [], none);
  const there = late.create.map(({ spec }) => listed(spec));
  const healed = mirrorPlan([younger, older], null, there, knownAs(late.create));
  assert.deepEqual([healed.remove, healed.create.map(({ of }) => of), healed.objections], [there, [older.id], []]);
  const both = mirrorPlan(
    [older],
    null,
    [...plan.create.map(({ spec }) => listed(spec)), { ...theirs('same'), id: 'another' }],
    knownAs(plan.create),
  );
  assert.deepEqual(both, {
    ...{ adopt: [], remove: [], create: [] },
    objections: [
      'Docker has a second network same (driver bridge), and takes that name for neither: remove that one by its id, another',
    ],
  });
  const six = mirrorPlan([network('six', ['fd00:6::/64'])], null, [], none);
  assert.deepEqual(six.objections, ['Docker cannot have network six: it makes none without IPv4']);
});

test('a container is called by its name on each network, and by its aliases; what is no name is left out', () => {
  const endpoint = (EndpointID: string, Aliases: string[] | null) => ({ EndpointID, Aliases });
  const parsed = Container.parse({
    ...{ Id: 'ab'.repeat(32), Name: '/db' },
    Config: { Hostname: 'db-1', Labels: null },
    State: { Status: 'running', Running: true, Pid: 7 },
    NetworkSettings: {
      ...{ SandboxID: 's', SandboxKey: '/var/run/docker/netns/s' },
      Networks: {
        frontend: endpoint('e1', ['database', 'db', '-x', 'a b']),
        backend: endpoint('e2', null),
        old: endpoint('', null),
      },
    },
  });
  assert.deepEqual(
    namesOf(parsed),
    new Map([
      ['e1', { name: 'db', aliases: ['database', 'db-1'], ready: true, ports: [], container: 'ab'.repeat(32) }],
      ['e2', { name: 'db', aliases: ['db-1'], ready: true, ports: [], container: 'ab'.repeat(32) }],
    ]),
  );
  const many = {
    ...parsed,
    networks: new Map([
      ['n', { endpointId: 'e', aliases: Array.from({ length: 40 }, (_, i) => `a${i}`), dnsNames: [] }],
    ]),
  };
  assert.equal(namesOf(many as never).get('e')?.aliases.length, 16);
});

test('a network that was made in Docker is taken into the cluster once, with the subnet that somebody chose', () => {
  const byHand = (name: string, subnet: string): DockerNetwork =>
    listed({ name, driver: 'weft', labels: { a: 'b' }, ipam: { pools: [{ subnet }] } });
  const [chosen, any] = [byHand('chosen', '10.9.0.0/24'), byHand('any', '172.19.0.0/16')];
  const plan = mirrorPlan([], null, [chosen, any], none);
  const adopted = [chosen, any].map((each) => ({ network: each, as: null }));
  assert.deepEqual([plan.adopt, plan.remove, plan.create], [adopted, [], []]);
  const common = {
    Driver: 'overlay',
    Internal: false,
    Attachable: true,
    EnableIPv6: false,
    Options: {},
    Labels: { a: 'b' },
  };
  assert.deepEqual(requestFor(chosen), { ...common, Name: 'chosen', IPAM: { Config: [{ Subnet: '10.9.0.0/24' }] } });
  assert.deepEqual(requestFor(any), { ...common, Name: 'any', IPAM: { Config: [] } });
  const taken = network('any');
  const next = mirrorPlan([taken], null, [any], none);
  assert.deepEqual([next.adopt, next.remove], [[], [any]]);
  assert.deepEqual(
    next.create.map(({ of }) => of),
    [taken.id],
  );
});

test('a network that was made in Docker with our addresses is taken into the cluster as it is, once', () => {
  const pools = [{ subnet: '172.19.0.0/16', gateway: '172.19.0.9' }];
  const made = listed({ name: 'made', driver: 'weft', ipam: { driver: 'weft', pools } });
  const as = 'a'.repeat(25) as Network['id'];
  const awaited = new Map([[made.id, { id: made.id, networkId: as, awaited: true as const }]]);
  assert.deepEqual(mirrorPlan([], null, [made], awaited).adopt, [{ network: made, as }]);
  assert.deepEqual(requestFor(made).IPAM?.Config, [{ Subnet: '172.19.0.0/16' }], 'chosen by somebody, or by us');
  const now = network('made', ['172.19.0.0/16'], { id: as });
  const nothing = { adopt: [], remove: [], create: [], objections: [] };
  assert.deepEqual(mirrorPlan([now], null, [made], awaited), nothing);
  const known = new Map([[made.id, { id: made.id, networkId: as }]]);
  assert.deepEqual(mirrorPlan([now], null, [made], known), nothing);
  assert.deepEqual(mirrorPlan([], null, [made], known).remove, [made], 'removed elsewhere');
  const quicker = mirrorPlan([network('made')], null, [made], awaited);
  assert.deepEqual([quicker.adopt, quicker.remove, quicker.create.length], [[], [made], 1]);
});

test('one of ours of which nothing is known any more is made again, and not taken for a new one', () => {
  const one = network('one');
  const [made] = mirrorPlan([one], null, [], none).create;
  assert.ok(made);
  const { adopt, remove, create } = mirrorPlan([one], null, [listed(made.spec)], none);
  assert.deepEqual([adopt, remove.length, create.length], [[], 1, 1]);
});

test("Docker's own choice of a subnet is told from somebody's", () => {
  for (const subnet of ['172.17.0.0/16', '172.31.0.0/16', '192.168.0.0/20', '192.168.240.0/20'])
    assert.ok(isDockersChoice(subnet), subnet);
  for (const subnet of ['10.0.0.0/16', '172.19.0.0/24', '192.168.1.0/24', '172.32.0.0/16', 'fd00::/64'])
    assert.ok(!isDockersChoice(subnet), subnet);
});
