import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { after, before, beforeEach, test } from 'node:test';
import type { AgentFlags } from '../../../agent/cli/agent-flags.ts';
import { FakeAgent } from './fake-agent.ts';
import { ok, weft } from './harness.ts';
import { ids } from './replies.ts';

let agent: FakeAgent;
before(async () => {
  agent = await FakeAgent.start();
});
after(() => agent[Symbol.asyncDispose]());
beforeEach(() => {
  agent.seen.length = 0;
  agent.answers.clear();
});

// What is typed, and what goes over the wire for it.
const cases: [typed: string, ...requests: [line: string, body?: object][]][] = [
  ['init', ['POST /v1/init', {}]],
  ['init --ipv6', ['POST /v1/init', { EnableIPv6: true }]],
  [
    'init --advertise-addr 192.0.2.10 --data-path-addr 10.1.1.1 --data-path-port 4790 --default-addr-pool 10.20.0.0/16 --default-addr-pool 10.30.0.0/16 --default-addr-pool-mask-length 26',
    [
      'POST /v1/init',
      {
        AdvertiseAddr: '192.0.2.10',
        DataPathAddr: '10.1.1.1',
        DataPathPort: 4790,
        DefaultAddrPool: ['10.20.0.0/16', '10.30.0.0/16'],
        SubnetSize: 26,
      },
    ],
  ],
  [
    'join --token T --advertise-addr 192.0.2.11 --data-path-addr 10.1.1.2 192.0.2.10:2377 192.0.2.12',
    [
      'POST /v1/join',
      {
        AdvertiseAddr: '192.0.2.11',
        DataPathAddr: '10.1.1.2',
        RemoteAddrs: ['192.0.2.10:2377', '192.0.2.12'],
        JoinToken: 'T',
      },
    ],
  ],
  ['join-token worker', ['GET /v1/join-tokens/worker']],
  ['join-token manager --rotate', ['POST /v1/join-tokens/manager/rotate']],
  ['token create', ['POST /v1/tokens', { Role: 'worker' }]],
  [
    'token create --role manager --expires 1h --uses 5',
    ['POST /v1/tokens', { Role: 'manager', ExpiresSeconds: 3600, MaxUses: 5 }],
  ],
  ['token ls', ['GET /v1/tokens']],
  ['token rm a b', ['DELETE /v1/tokens/a'], ['DELETE /v1/tokens/b']],
  ['leave', ['POST /v1/leave', { Force: false }]],
  ['leave --force', ['POST /v1/leave', { Force: true }]],
  ['status', ['GET /v1/status']],
  ['node ls', ['GET /v1/nodes']],
  ['node inspect beta alpha', ['GET /v1/nodes/beta'], ['GET /v1/nodes/alpha']],
  ['node inspect self', ['GET /v1/status'], [`GET /v1/nodes/${ids.alpha}`]],
  [
    'node promote beta gamma',
    ['POST /v1/nodes/beta/update', { Role: 'manager' }],
    ['POST /v1/nodes/gamma/update', { Role: 'manager' }],
  ],
  ['node demote alpha', ['POST /v1/nodes/alpha/update', { Role: 'worker' }]],
  [
    'node drain beta gamma',
    ['POST /v1/nodes/beta/update', { Availability: 'drain' }],
    ['POST /v1/nodes/gamma/update', { Availability: 'drain' }],
  ],
  ['node activate beta', ['POST /v1/nodes/beta/update', { Availability: 'active' }]],
  [
    'node update --role worker --availability drain alpha',
    ['POST /v1/nodes/alpha/update', { Availability: 'drain' }],
    ['POST /v1/nodes/alpha/update', { Role: 'worker' }],
  ],
  ['node update --role worker alpha', ['POST /v1/nodes/alpha/update', { Role: 'worker' }]],
  [
    'node update --label-add zone=a --label-add ssd --label-rm rack alpha',
    ['POST /v1/nodes/alpha/update', { LabelsAdd: { zone: 'a', ssd: '' }, LabelsRemove: ['rack'] }],
  ],
  [
    'node update --dry-run --availability drain --label-add zone=a alpha',
    [
      'POST /v1/dry-run',
      { Verb: 'nodeUpdate', Node: 'alpha', Request: { Availability: 'drain', LabelsAdd: { zone: 'a' } } },
    ],
  ],
  ['node rm beta', ['DELETE /v1/nodes/beta']],
  ['node rm -f beta gamma', ['DELETE /v1/nodes/beta?force=true'], ['DELETE /v1/nodes/gamma?force=true']],
  [
    'network update --subnet-add 10.9.1.0/24 --gateway 10.9.1.9 --ip-range 10.9.1.128/25 --aux-address a=10.9.1.2 frontend',
    [
      'POST /v1/networks/frontend/update',
      {
        SubnetAdd: {
          Subnet: '10.9.1.0/24',
          Gateway: '10.9.1.9',
          IPRange: '10.9.1.128/25',
          AuxiliaryAddresses: { a: '10.9.1.2' },
        },
      },
    ],
  ],
  ['network update --subnet-add auto frontend', ['POST /v1/networks/frontend/update', { SubnetAdd: {} }]],
  ['network create frontend', ['POST /v1/networks', { Name: 'frontend' }]],
  [
    'network create -d overlay --subnet 10.9.0.0/24 --gateway 10.9.0.1 --internal --attachable --ipv6 -o a=1 --opt b=x=y --label team=shop --label bare frontend',
    [
      'POST /v1/networks',
      {
        Name: 'frontend',
        Driver: 'overlay',
        Internal: true,
        Attachable: true,
        EnableIPv6: true,
        IPAM: { Config: [{ Subnet: '10.9.0.0/24', Gateway: '10.9.0.1' }] },
        Options: { a: '1', b: 'x=y' },
        Labels: { team: 'shop', bare: '' },
      },
    ],
  ],
  [
    'network create --ipv6=true --ipv4=false --internal=false --subnet fd00:1::/64 --ip-range fd00:1::/80 modern',
    [
      'POST /v1/networks',
      {
        Name: 'modern',
        EnableIPv4: false,
        EnableIPv6: true,
        IPAM: { Config: [{ Subnet: 'fd00:1::/64', IPRange: 'fd00:1::/80' }] },
      },
    ],
  ],
  [
    'network create --ipv6 --subnet fd00:1::/64 --subnet 10.9.0.0/24 --gateway 10.9.0.1 --gateway fd00:1::1 --aux-address a=10.9.0.9 dual',
    [
      'POST /v1/networks',
      {
        Name: 'dual',
        EnableIPv6: true,
        IPAM: {
          Config: [
            { Subnet: 'fd00:1::/64', Gateway: 'fd00:1::1' },
            { Subnet: '10.9.0.0/24', Gateway: '10.9.0.1', AuxiliaryAddresses: { a: '10.9.0.9' } },
          ],
        },
      },
    ],
  ],
  [
    'network connect --ip 10.9.0.7 --ip6 fd00:1::7 dual web',
    ['POST /v1/networks/dual/connect', { Sandbox: 'web', IPAddress: '10.9.0.7', GlobalIPv6Address: 'fd00:1::7' }],
  ],
  [
    'sandbox create --network dual --ip6 fd00:1::7 web',
    ['POST /v1/sandboxes', { Name: 'web', Networks: ['dual'], GlobalIPv6Address: 'fd00:1::7' }],
  ],
  ['network ls', ['GET /v1/networks']],
  ['network inspect frontend', ['GET /v1/networks/frontend']],
  ['network rm frontend backend', ['DELETE /v1/networks/frontend'], ['DELETE /v1/networks/backend']],
  ['network connect backend web', ['POST /v1/networks/backend/connect', { Sandbox: 'web' }]],
  [
    'network connect --alias db --alias sql backend web',
    ['POST /v1/networks/backend/connect', { Sandbox: 'web', Aliases: ['db', 'sql'] }],
  ],
  [
    'network connect --network-alias db backend web',
    ['POST /v1/networks/backend/connect', { Sandbox: 'web', Aliases: ['db'] }],
  ],
  ['network disconnect backend web', ['POST /v1/networks/backend/disconnect', { Sandbox: 'web' }]],
  ['sandbox create', ['POST /v1/sandboxes', { Networks: [] }]],
  [
    'sandbox create --network frontend --network backend --network-alias www --label a=b --netns /run/netns/blue web',
    [
      'POST /v1/sandboxes',
      {
        Name: 'web',
        Networks: ['frontend', 'backend'],
        NetnsPath: '/run/netns/blue',
        Aliases: ['www'],
        Labels: { a: 'b' },
      },
    ],
  ],
  [
    'sandbox create --hostname web.example --dns 192.0.2.53 --dns 2001:db8::53 --dns-search corp.example --dns-option ndots:2 --dns-opt rotate web',
    [
      'POST /v1/sandboxes',
      {
        Name: 'web',
        Networks: [],
        Hostname: 'web.example',
        Dns: ['192.0.2.53', '2001:db8::53'],
        DnsSearch: ['corp.example'],
        DnsOptions: ['ndots:2', 'rotate'],
      },
    ],
  ],
  ['sandbox create --pid 4242', ['POST /v1/sandboxes', { Networks: [], Pid: 4242 }]],
  ['sandbox ls', ['GET /v1/sandboxes']],
  ['sandbox inspect web', ['GET /v1/sandboxes/web']],
  ['sandbox rm web', ['DELETE /v1/sandboxes/web']],
  ['endpoint ls', ['GET /v1/endpoints']],
  ['endpoint ls --network frontend --node beta', ['GET /v1/endpoints?network=frontend&node=beta']],
  [
    'publish web 8080:80',
    [
      'POST /v1/services/web/publish',
      { Ports: [{ Protocol: 'tcp', PublishedPort: 8080, TargetPort: 80, Count: 1, PublishMode: 'ingress' }] },
    ],
  ],
  [
    'publish --mode host web 8080:80',
    [
      'POST /v1/services/web/publish',
      { Ports: [{ Protocol: 'tcp', PublishedPort: 8080, TargetPort: 80, Count: 1, PublishMode: 'host' }] },
    ],
  ],
  [
    'publish --network frontend --source local --affinity 10m web 443:8443 8000-8010:80-90/UDP',
    [
      'POST /v1/services/web/publish',
      {
        Network: 'frontend',
        Ports: [
          { Protocol: 'tcp', PublishedPort: 443, TargetPort: 8443, Count: 1, PublishMode: 'ingress' },
          { Protocol: 'udp', PublishedPort: 8000, TargetPort: 80, Count: 11, PublishMode: 'ingress' },
        ],
        Source: 'local',
        AffinityMs: 600_000,
      },
    ],
  ],
  [
    'publish --prefer zone --drain-timeout 1m30s --vip web',
    ['POST /v1/services/web/publish', { Ports: [], Prefer: 'zone', DrainMs: 90_000, EndpointSpec: { Mode: 'vip' } }],
  ],
  [
    'publish --prefer none --drain-timeout none --endpoint-mode dnsrr web',
    ['POST /v1/services/web/publish', { Ports: [], Prefer: 'none', DrainMs: 0, EndpointSpec: { Mode: 'dnsrr' } }],
  ],
  ['publish --drain-timeout 0 web', ['POST /v1/services/web/publish', { Ports: [], DrainMs: 0 }]],
  ['unpublish web', ['POST /v1/services/web/unpublish', {}]],
  [
    'unpublish --network frontend web 8080 8000-8010/udp',
    [
      'POST /v1/services/web/unpublish',
      {
        Network: 'frontend',
        Ports: [
          { Protocol: 'tcp', PublishedPort: 8080, Count: 1 },
          { Protocol: 'udp', PublishedPort: 8000, Count: 11 },
        ],
      },
    ],
  ],
  [
    'unpublish --dry-run web 8080',
    [
      'POST /v1/dry-run',
      {
        Verb: 'serviceUnpublish',
        Service: 'web',
        Request: { Ports: [{ Protocol: 'tcp', PublishedPort: 8080, Count: 1 }] },
      },
    ],
  ],
  ['service ls', ['GET /v1/services']],
  ['service ls --network frontend', ['GET /v1/services?network=frontend']],
  [
    'service inspect --network frontend web shop',
    ['GET /v1/services/web?network=frontend'],
    ['GET /v1/services/shop?network=frontend'],
  ],
  ['wait --converged', ['POST /v1/wait', { TimeoutSeconds: 30 }]],
  [
    'wait --converged --network frontend --timeout 0.5',
    ['POST /v1/wait', { Network: 'frontend', TimeoutSeconds: 0.5 }],
  ],
  ['version', ['GET /v1/version']],
  ['version --client'],
];

for (const [typed, ...requests] of cases) {
  test(`weft ${typed}`, async () => {
    await ok(agent, typed.split(' '));
    assert.deepEqual(
      agent.seen.map(({ method, path, body }) => [`${method} ${path}`, body]),
      requests.map(([line, body]) => [line, body]),
    );
  });
}

test('operands with odd characters stay one segment of the path', async () => {
  await ok(agent, ['network', 'rm', 'a/b c?d']);
  assert.equal(agent.seen[0]?.path, '/v1/networks/a%2Fb%20c%3Fd');
});

test('the token comes from a file or from standard input, without the line end', async () => {
  const file = join(dirname(agent.socketPath), 'token');
  await writeFile(file, 'FROM-FILE\n');
  await ok(agent, ['join', '--token-file', file, 'm']);
  await ok(agent, ['join', '--token-file', '-', 'm'], { stdin: 'FROM-STDIN\n' });
  const tokens = agent.seen.map(({ body }) => (body as { JoinToken: string }).JoinToken);
  assert.deepEqual(tokens, ['FROM-FILE', 'FROM-STDIN']);
});

test('keys that mean something to JavaScript are keys like any other', async () => {
  await ok(agent, ['network', 'create', '--label', '__proto__=x', '--label', 'constructor=y', 'n']);
  const wire = JSON.stringify(agent.seen[0]?.body ?? '');
  assert.match(wire, /"Labels":\{"__proto__":"x","constructor":"y"\}/);
});

test('the socket: --host before and after the verb, then WEFT_HOST; a path or unix://', async () => {
  const elsewhere = { env: { WEFT_HOST: '/nowhere.sock' } };
  const { socketPath } = agent;
  for (const argv of [
    ['-H', socketPath, 'network', 'ls'],
    ['network', '--host', socketPath, 'ls'],
    ['network', 'ls', '-H', `unix://${socketPath}`],
    ['--host', '/nowhere', 'network', 'ls', `--host=${socketPath}`],
  ]) {
    await ok(agent, argv, elsewhere);
  }
  assert.equal(agent.seen.length, 4);
});

test('weft agent hands its flags over as typed, and exits with its code', async () => {
  const given: AgentFlags[] = [];
  const runAgent = async (flags: AgentFlags) => {
    given.push(flags);
    return 7;
  };
  const line =
    'agent --config c.yaml --state-dir /s --run-dir /r --socket /w --gossip-port 1 --join-port 2 --log-level debug --log-format pretty';
  assert.equal((await weft(line.split(' '), { runAgent })).code, 7);
  const badHost = { WEFT_HOST: 'tcp://not-for-the-daemon' };
  assert.equal((await weft(['--json', 'agent', '--json', '-H', '/x'], { runAgent, env: badHost })).code, 7);
  assert.equal((await weft(['agent'], { runAgent, env: badHost })).code, 7);
  assert.deepEqual(given, [
    {
      config: 'c.yaml',
      stateDir: '/s',
      runDir: '/r',
      socket: '/w',
      gossipPort: 1,
      joinPort: 2,
      logLevel: 'debug',
      logFormat: 'pretty',
    },
    {},
    {},
  ]);
});
