import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Network } from '../../../../agent/api/schema.ts';
import { Info, Networks } from '../../../../agent/docker/shapes.ts';
import { type NetworkImport, planImport, swarmView } from '../../../../agent/docker/swarm.ts';
import { networks as canned } from '../../cli/replies.ts';

const recorded = JSON.parse(readFileSync('test/fixtures/docker-swarm.json', 'utf8'));
const ofManager = Networks.parse(recorded.manager.networks);

const byName = (all: readonly NetworkImport[]): ReadonlyMap<string, NetworkImport> =>
  new Map(all.map((each) => [each.from.name, each]));
const planned = byName(planImport({ docker: ofManager, weft: [] }));
const requestOf = (name: string) => planned.get(name)?.request;
const reasonOf = (name: string): string => planned.get(name)?.reason ?? '';

/** As Weft shows one that was made as asked. */
const madeOf = ({ name, request, subnets }: NetworkImport, more: Partial<Network> = {}): Network => ({
  ...(canned[1] as Network),
  Name: name,
  EnableIPv6: request?.EnableIPv6 ?? false,
  Internal: request?.Internal ?? false,
  Options: request?.Options ?? {},
  Labels: request?.Labels ?? {},
  IPAM: {
    Driver: 'default',
    Options: null,
    Config: [...(request?.IPAM?.Config ?? []), ...subnets].map((each) => ({
      ...each,
      Gateway: each.Gateway ?? '',
    })) as never,
  },
  ...more,
});

test('the networks of a Swarm, and those that every host or cluster has, last', () => {
  assert.deepEqual(
    [...planned].map(([name, { state }]) => `${name} ${state}`),
    [
      ...['full absent', 'inner absent', 'opts absent', 'overlapping refused', 'plain absent', 'secret refused'],
      ...['six absent', 'six-none absent', 'swbr refused', 'tiny refused', 'two absent', 'wire refused'],
      ...['docker_gwbridge predefined', 'ingress predefined'],
    ],
  );
});

test('what can be is kept; what cannot is said', () => {
  assert.deepEqual(requestOf('full'), {
    ...{ Name: 'full', Attachable: true },
    IPAM: { Config: [{ Subnet: '10.60.0.0/24', Gateway: '10.60.0.9', IPRange: '10.60.0.128/25' }] },
    Options: { 'com.docker.network.driver.mtu': '1400' },
    Labels: { 'com.docker.stack.namespace': 'shop', team: 'a b "c"' },
  });
  assert.deepEqual(planned.get('full')?.notes, []);
  assert.equal(requestOf('inner')?.Internal, true);
  assert.deepEqual(requestOf('six')?.IPAM?.Config, [
    { Subnet: '10.63.0.0/24', Gateway: '10.63.0.1' },
    { Subnet: 'fd00:63::/64', Gateway: 'fd00:63::1' },
  ]);
  assert.deepEqual(requestOf('two')?.IPAM?.Config, [{ Subnet: '10.61.0.0/24', Gateway: '10.61.0.1' }]);
  assert.deepEqual(planned.get('two')?.subnets, [{ Subnet: '10.62.0.0/24', Gateway: '10.62.0.1' }]);
  assert.equal(requestOf('six-none')?.EnableIPv6, true);
  assert.deepEqual(planned.get('six-none')?.notes, ['the Swarm gave it no IPv6 subnet; here it gets one']);
  assert.equal(requestOf('opts')?.Options, undefined);
  assert.deepEqual(planned.get('opts')?.notes, ['left out: option foo=bar: overlays here have none of that name']);

  assert.match(reasonOf('secret'), /it is encrypted/);
  assert.match(reasonOf('overlapping'), /has not set it up/);
  assert.match(reasonOf('tiny'), /10\.64\.0\.0\/30 cannot be a network's subnet/);
  assert.match(reasonOf('swbr'), /its driver is bridge/);
  assert.match(planned.get('wire')?.hint ?? '', /settings of conf there.*-d macvlan/);
});

test('bounds of ours that Docker has not: the network is made without what is beyond them', () => {
  const many = Object.fromEntries(Array.from({ length: 70 }, (_, i) => [`l${i}`, '']));
  const [network] = Networks.parse([
    {
      ...{ Id: 'n', Name: 'n', Driver: 'overlay', Scope: 'swarm', EnableIPv6: true },
      Labels: { 'a=b': 'c', long: 'x'.repeat(2000), 'n\0l': '', ...many },
      Options: { 'com.docker.network.driver.mtu': '1000' },
      IPAM: {
        Config: [
          {
            Subnet: '10.65.0.5/24',
            IPRange: '10.65.0.77/26',
            Gateway: '10.65.0.1/24',
            AuxiliaryAddresses: { r: '10.65.0.2' },
          },
        ],
      },
    },
  ]);
  assert.ok(network);
  const [one] = planImport({ docker: [network], weft: [] });
  assert.equal(Object.keys(one?.request?.Labels ?? {}).length, 64);
  assert.deepEqual(one?.notes.slice(0, 4), [
    'left out: option com.docker.network.driver.mtu=1000: IPv6 needs 1280 bytes or more',
    'left out: label a=b: want a name of 1 to 128 characters without =',
    'left out: label long: want at most 1024 characters',
    'left out: label n\0l: want a name of 1 to 128 characters without =',
  ]);
  assert.equal(one?.notes.length, 4 + 6 + 1);
  assert.deepEqual(one?.request?.IPAM?.Config, [
    { Subnet: '10.65.0.0/24', Gateway: '10.65.0.1', IPRange: '10.65.0.64/26', AuxiliaryAddresses: { r: '10.65.0.2' } },
  ]);
  const named = planImport({ docker: [network], weft: [], prefix: '-' })[0];
  assert.deepEqual([named?.state, named?.name], ['refused', '-n']);
  assert.match(named?.reason ?? '', /Name: want 1 to 63 letters/);
});

test('one that is there is left as it is, or is given what it lacks', () => {
  const two = planned.get('two');
  const full = planned.get('full');
  assert.ok(two && full);
  const against = (weft: Network): NetworkImport | undefined =>
    byName(planImport({ docker: ofManager, weft: [weft] })).get(weft.Name);
  assert.equal(against(madeOf(two))?.state, 'present');
  const half = madeOf({ ...two, subnets: [] });
  assert.deepEqual(
    [against(half)?.state, against(half)?.subnets, against(half)?.request],
    ['partial', two.subnets, null],
  );
  const other = against(madeOf(full, { Labels: {}, Options: {} }));
  assert.deepEqual([other?.state, other?.notes], ['present', ['it has other options', 'it has other labels']]);

  const elsewhere = { Driver: 'default', Options: null, Config: [{ Subnet: '10.99.0.0/24', Gateway: '10.99.0.1' }] };
  for (const [more, why] of [
    [{ Internal: true }, /it is internal/],
    [{ EnableIPv6: true }, /it has IPv6/],
    [{ Scope: 'local', Driver: 'bridge' }, /of that host alone \(driver bridge\)/],
    [{ IPAM: elsewhere }, /its subnet is 10\.99\.0\.0\/24, and not 10\.60\.0\.0\/24/],
    [
      { IPAM: { ...elsewhere, Config: [{ Subnet: '10.60.0.0/24', Gateway: '10.60.0.1' }] } },
      /its gateway is 10\.60\.0\.1/,
    ],
  ] as const) {
    const found = against(madeOf(full, more as Partial<Network>));
    assert.equal(found?.state, 'refused');
    assert.match(found?.reason ?? '', why);
    assert.match(found?.hint ?? '', /--prefix/);
  }
});

test('with a prefix it is another network; who shares its subnet is named', () => {
  const full = planned.get('full');
  assert.ok(full);
  const plan = byName(planImport({ docker: ofManager, weft: [madeOf(full)], prefix: 'new-' }));
  assert.deepEqual([plan.get('full')?.state, plan.get('full')?.name], ['absent', 'new-full']);
  assert.deepEqual(plan.get('full')?.notes, [
    '10.60.0.0/24 shares addresses with full in Weft: let nothing be on both',
  ]);
  assert.deepEqual([plan.get('ingress')?.state, plan.get('ingress')?.name], ['predefined', 'ingress']);
});

test('a worker, and a manager that the Swarm does not answer, know a part; outside of one there is nothing to know', () => {
  const view = (swarm: object) => swarmView(Info.parse({ Swarm: swarm }));
  const whole = view(recorded.manager.info.Swarm);
  assert.deepEqual(whole, { ok: true, manager: true, gap: '' });
  const worker = view(recorded.worker.info.Swarm);
  assert.ok(worker.ok && /it is a worker/.test(worker.gap));
  const error = 'rpc error: code = Unknown desc = The swarm does not have a leader';
  const alone = view({ ...recorded.manager.info.Swarm, Error: error });
  assert.ok(alone.ok && alone.gap.includes(error));
  const reasons = ['inactive', '', 'locked', 'pending'].map((LocalNodeState) => {
    const found = view({ LocalNodeState });
    return found.ok ? '' : found.reason;
  });
  assert.deepEqual(reasons, [
    ...['it is in no Swarm', 'it is in no Swarm', 'its Swarm is locked', 'its Swarm is in state pending'],
  ]);
  assert.equal(swarmView(Info.parse({})).ok, false);
});
