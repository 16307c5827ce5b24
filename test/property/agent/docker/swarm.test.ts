import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import type { IpamConfig, Network } from '../../../../agent/api/schema.ts';
import { NetworkCreateRequest } from '../../../../agent/api/schema.ts';
import { commandsOf } from '../../../../agent/cli/import-text.ts';
import { type DockerNetwork, Network as Shape } from '../../../../agent/docker/shapes.ts';
import { type NetworkImport, planImport } from '../../../../agent/docker/swarm.ts';
import { FakeAgent } from '../../../unit/cli/fake-agent.ts';
import { child, ok } from '../../../unit/cli/harness.ts';
import { networks as canned } from '../../../unit/cli/replies.ts';

const four = (third: number) => ({
  Subnet: `10.${third}.0.0/24`,
  Gateway: `10.${third}.0.1`,
  IPRange: `10.${third}.0.128/25`,
  AuxiliaryAddresses: { [`r${third}`]: `10.${third}.0.9` },
});
const six = (third: number) => ({
  Subnet: `fd00:${third}:0::/64`,
  Gateway: `FD00:${third}::0:1`,
  IPRange: `fd00:${third}::/80`,
  AuxiliaryAddresses: { [`s${third}`]: `fd00:${third}::9` },
});
const pools = fc
  .uniqueArray(
    fc.record({
      third: fc.nat(99),
      isSix: fc.boolean(),
      keeps: fc.subarray(['Gateway', 'IPRange', 'AuxiliaryAddresses'] as const),
    }),
    { selector: ({ third }) => third, maxLength: 4 },
  )
  .map((all) =>
    all.map(({ third, isSix, keeps }) => {
      const pool = (isSix ? six : four)(third);
      return { Subnet: pool.Subnet, ...Object.fromEntries(keeps.map((key) => [key, pool[key]])) };
    }),
  );
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.constantFrom('--json', '-o', "it's", '$(id)', 'a\nb', '\u0085', '*', '', '--ipv6', 'true', '~', '__proto'),
);
const name = fc.stringMatching(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,12}$/);
const ofSwarm: fc.Arbitrary<DockerNetwork> = fc
  .record({
    ...{ Name: name, Internal: fc.boolean(), Attachable: fc.boolean(), EnableIPv6: fc.boolean() },
    Labels: fc.dictionary(text, text, { maxKeys: 4, noNullPrototype: true }),
    Options: fc.dictionary(
      fc.constantFrom(
        'com.docker.network.driver.mtu',
        'com.docker.network.driver.overlay.vxlanid_list',
        'encrypted',
        'x',
      ),
      fc.constantFrom('', '1400', '576', '9'),
      { maxKeys: 2, noNullPrototype: true },
    ),
    IPAM: pools.map((Config) => ({ Driver: 'default', Config })),
  })
  .map((network) => Shape.parse({ Id: 'n1', Driver: 'overlay', Scope: 'swarm', ...network }));

const importOf = (network: DockerNetwork, weft: readonly Network[]): NetworkImport => {
  const [found, ...more] = planImport({ docker: [network], weft });
  assert.ok(found && more.length === 0);
  return found;
};

/** As Weft shows a network that was asked for so. */
function made(request: NetworkCreateRequest, subnets: readonly IpamConfig[]): Network {
  const config = [...(request.IPAM?.Config ?? []), ...subnets];
  return {
    ...(canned[1] as Network),
    Name: request.Name,
    EnableIPv4: request.EnableIPv4 ?? true,
    EnableIPv6: request.EnableIPv6 ?? false,
    Internal: request.Internal ?? false,
    Options: request.Options ?? {},
    Labels: request.Labels ?? {},
    IPAM: {
      Driver: 'default',
      Options: null,
      Config: config.map((each) => ({ Gateway: '', ...each })) as Network['IPAM']['Config'],
    },
  };
}

test('what is to be made is a request that can be taken; once made, there is nothing more to do', () => {
  fc.assert(
    fc.property(ofSwarm, fc.nat(4), (network, missing) => {
      const { state, request, subnets, reason } = importOf(network, []);
      if (request === null) {
        assert.equal(state, 'refused');
        assert.match(reason, /encrypted|has not set it up/);
        return;
      }
      assert.ok(NetworkCreateRequest.safeParse(request).success);
      const all = new Set([...(request.IPAM?.Config ?? []), ...subnets].map(({ Subnet }) => Subnet));
      assert.equal(all.size, network.ipam.pools.length);
      const after = importOf(network, [made(request, subnets)]);
      assert.deepEqual([after.state, after.notes, commandsOf(after)], ['present', [], []]);
      const half = importOf(network, [made(request, subnets.slice(0, missing))]);
      assert.deepEqual(half.subnets, subnets.slice(missing));
      assert.equal(half.state, half.subnets.length === 0 ? 'present' : 'partial');
    }),
  );
});

const looksLikeSwitches = Shape.parse({
  ...{ Id: 'n1', Name: 'n', Driver: 'overlay', Scope: 'swarm', IPAM: { Config: [four(1)] } },
  Labels: { '--ipv6': 'true', '--json': '', '-o': 'x', '--': '' },
});

let agent: FakeAgent;
before(async () => {
  agent = await FakeAgent.start();
});
after(() => agent[Symbol.asyncDispose]());

test('the commands, typed into a shell, ask for just that', async () => {
  await fc.assert(
    fc.asyncProperty(ofSwarm, async (network) => {
      const planned = importOf(network, []);
      agent.seen.length = 0;
      for (const command of commandsOf(planned)) {
        assert.doesNotMatch(command, /\p{Cc}/u);
        const { stdout } = await child(['bash', '-c', `printf '%s\\0' ${command}`], { env: { LC_ALL: 'C' } });
        const [program, ...words] = stdout.slice(0, -1).split('\0');
        assert.equal(program, 'weft');
        await ok(agent, words);
      }
      const asked = agent.seen.map(({ name: call, body }) => [call, body]);
      assert.deepEqual(asked, [
        ...(planned.request === null ? [] : [['networkCreate', planned.request]]),
        ...planned.subnets.map((SubnetAdd) => ['networkUpdate', { SubnetAdd }]),
      ]);
    }),
    { numRuns: 60, examples: [[looksLikeSwitches]] },
  );
});
