import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { version } from '../../../agent/version.ts';
import { FakeAgent } from './fake-agent.ts';
import { failing, ok } from './harness.ts';
import { ids, networks, nodes, replies, sandbox, service, status } from './replies.ts';

let agent: FakeAgent;
before(async () => {
  agent = await FakeAgent.start();
});
after(() => agent[Symbol.asyncDispose]());
beforeEach(() => agent.answers.clear());

// What a person sees, to the letter.
const golden: [typed: string, shown: string][] = [
  [
    'init',
    `Cluster initialized: current node (${ids.alpha}) is now a manager.

To add a worker to this cluster, run the following command:

    weft join --token WFTKN-1-worker 192.0.2.10:2377

To add a manager to this cluster, run 'weft join-token manager' and follow the instructions.
`,
  ],
  ['join --token T m', 'This node joined a cluster as a worker.\n'],
  ['leave', 'Node left the cluster.\n'],
  [
    'join-token worker',
    `To add a worker to this cluster, run the following command:

    weft join --token WFTKN-1-worker 192.0.2.10:2377

`,
  ],
  [
    'join-token --rotate worker',
    `Successfully rotated worker join token.

To add a worker to this cluster, run the following command:

    weft join --token WFTKN-1-newer 192.0.2.10:2377

`,
  ],
  ['join-token -q worker', 'WFTKN-1-worker\n'],
  ['join-token -q --rotate worker', 'WFTKN-1-newer\n'],
  [
    'status',
    `Node:         alpha (${ids.alpha})
State:        active, manager
Agent:        version 0.1.0, up 5 minutes
Cluster:      cafe01
Certificate:  ends in 3 months, to be renewed in 7 weeks
Join at:      192.0.2.10:2377
Gossip at:    192.0.2.10:7946
VTEP:         192.0.2.10, UDP port 4789
Nodes:        3, of them 1 manager
Networks:     2
Sandboxes:    1 here
Endpoints:    1 here, 2 on other nodes
Lag:          p50 ≤ 10 ms, p99 ≤ 25 ms, max 1.6 s, of 200 records
Kernel:       failed, 1 pending, 1 failed, 2 repairs since start
Gateway:      docker_gwbridge, 172.18.0.0/16

PEER    STATUS                   SINCE            CONNECTION   FOR              ADDRESS           RTT      PATH MTU   NEXT TRY       LAST ERROR
beta    alive                    2 minutes ago    outbound     About a minute   192.0.2.11:7946   0.4 ms   1500                      connect EHOSTUNREACH (About a minute ago)
gamma   suspended (agent down)   10 seconds ago   waiting      10 seconds       192.0.2.12:7946                       in 4 seconds   connect ECONNREFUSED (3 seconds ago)

Not in the kernel:
  fdb 02:42:0a:00:01:03 on wf-4097: File exists (again in 4 seconds)
  overlay/4097: waits for netns/weft

OFFENDER   WHAT            COUNT   LAST
beta       bad signature   3       About a minute ago

Clocks:
  gamma is 40.2 s behind this node

Warnings:
  clock of gamma is 40 s behind
`,
  ],
  [
    'node ls',
    `ID                       HOSTNAME   STATUS              AVAILABILITY   MANAGER STATUS   VTEP         ENDPOINTS   VERSION
12D3KooWAlphaAlphaAl *   alpha      Ready               Active         Reachable        192.0.2.10   2           0.1.0
12D3KooWBetaBetaBeta     beta       Down (agent down)   Drain                           192.0.2.11   0           0.1.0
`,
  ],
  [
    'token ls',
    `ID           ROLE     STATE   USES   EXPIRES
3k9x0c2m1q   worker   good    2/5    in about an hour
`,
  ],
  ['node promote beta', 'Node beta promoted to a manager in the cluster.\n'],
  ['node drain beta', 'Node beta drained: running connections go on, new ones go elsewhere.\n'],
  ['node activate beta', 'Node beta active: new connections are led to it again.\n'],
  ['node demote alpha', 'Manager alpha demoted in the cluster.\n'],
  ['node ls -q', `${ids.alpha}\n${ids.beta}\n`],
  ['node rm alpha beta', 'alpha\nbeta\n'],
  ['network create frontend', `${ids.frontend}\n`],
  [
    'network ls',
    `NETWORK ID     NAME       DRIVER    SCOPE   SUBNET        VNI    ENDPOINTS
i1i2i3i4i5i6   ingress    overlay   swarm   10.0.1.0/24   4096   1
f1f2f3f4f5f6   frontend   overlay   swarm   10.0.1.0/24   4097   3
`,
  ],
  ['network ls -q --filter name=front', 'f1f2f3f4f5f6\n'],
  ['network ls -q --filter label=team', 'f1f2f3f4f5f6\n'],
  ['network ls -q --filter label=team=shop --filter driver=overlay', 'f1f2f3f4f5f6\n'],
  ['network ls -q --filter label=team=other', ''],
  ['network ls -q --filter driver=bridge', ''],
  ['network ls -q -f id=i1 -f id=f1 -f scope=swarm', 'i1i2i3i4i5i6\nf1f2f3f4f5f6\n'],
  ['network ls -q --no-trunc --filter name=front', `${ids.frontend}\n`],
  ['network rm frontend', 'frontend\n'],
  ['network connect frontend web', ''],
  ['network disconnect frontend web', ''],
  ['sandbox create web', `${ids.web}\n`],
  [
    'sandbox ls',
    `SANDBOX ID     NAME   CREATED         STATUS   PORTS                  NETWORKS               NETNS
a1a2a3a4a5a6   web    2 minutes ago   ok       0.0.0.0:8080->80/tcp   frontend=10.0.1.2/24   /proc/self/ns/net
`,
  ],
  ['sandbox ls -q', 'a1a2a3a4a5a6\n'],
  ['sandbox rm web', 'web\n'],
  [
    'endpoint ls',
    `ENDPOINT ID    NETWORK    NAME   NODE    IPV4 ADDRESS   IPV6 ADDRESS   MAC ADDRESS         VTEP         ALIASES
e1e2e3e4e5e6   frontend   web    alpha   10.0.1.2/24    fd00:1::2/64   02:42:0a:00:01:02   192.0.2.10   www,shop
`,
  ],
  ['endpoint ls -q --no-trunc', `${ids.endpoint}\n`],
  ['publish web 8080:80', '10.0.1.9\n*:8080->80/tcp\n*:8000-8010->53-63/udp\n'],
  ['unpublish web 8080', ''],
  [
    'service ls',
    `NAME   NETWORK    MODE           ENDPOINTS   CONNECTIONS   PORTS                                    SOURCE   AFFINITY     PREFER   DRAIN
web    frontend   vip 10.0.1.9   1/2         3/79          *:8080->80/tcp, *:8000-8010->53-63/udp   keep     10 minutes   zone     30 seconds
`,
  ],
  ['service ls -q', 'web\n'],
  [
    'drift',
    `OBJECT                          WHAT                                        SINCE
remote/4097/02:42:0a:00:01:03   missing                                     4 seconds ago
overlay/4097                    wrong: wb4097: is down                      About a minute ago
foreign/br0                     foreign: a bridge device that is not ours   2 hours ago
`,
  ],
  ['drift --fix', 'Repaired with 2 steps.\nNo drift.\n'],
  ...['network create n', 'network rm n', 'network connect n s', 'publish w 1:1', 'unpublish w', 'leave'].map(
    (verb): [string, string] => [
      `${verb} --dry-run`,
      "ip link del dev wb4097\nnft -f - <<'END'\ntable inet weft {\n}\nEND\n",
    ],
  ),
  [
    'reload',
    `KEY           FROM        TO         TAKES EFFECT
drift         "observe"   "repair"   now
gossip-port   7946        7947       at the next start
`,
  ],
  [
    'reload --dry-run',
    `KEY           FROM        TO         TAKES EFFECT
drift         "observe"   "repair"   now
gossip-port   7946        7947       at the next start
ip link set dev wb4097 up
`,
  ],
  [
    'self-test',
    `NODE    DATA PATH    RTT       RESULT
beta    192.0.2.11   0.31 ms   ok (up to 1450 bytes)
gamma   192.0.2.12   -         untested: it is suspended
`,
  ],
  ['wait --converged', 'Converged after 120 ms on 2 nodes.\n'],
  [
    'version',
    `Client:
  Version:  ${version}
  Node.js:  ${process.version}
  OS/Arch:  ${process.platform}/${process.arch}

Agent:
  Version:  0.1.0
  Node.js:  v24.0.0
  OS/Arch:  linux/x64
  API:      1
  Kernel:   6.12.0
`,
  ],
];

for (const [typed, shown] of golden) {
  test(`weft ${typed}`, async () => assert.equal(await ok(agent, typed.split(' ')), shown));
}

// One JSON document each; inspect is one with and without the flag.
const documents: [typed: string, document: unknown][] = [
  ['init', replies.init],
  ['join --token T m', replies.join],
  ['leave', { Left: [] }],
  ['join-token worker', replies.joinToken],
  ['join-token -q --rotate worker', replies.rotateJoinToken],
  ['status', status],
  ['node ls', nodes],
  ['node ls -q', nodes],
  ['node inspect alpha beta', [nodes[0], nodes[0]]],
  ['node rm alpha beta', ['alpha', 'beta']],
  ['network create n', replies.networkCreate],
  ['network ls', networks],
  ['network ls --filter name=front', [networks[1]]],
  ['network inspect frontend', [networks[1]]],
  ['network rm a b', ['a', 'b']],
  ['network connect n s', replies.networkConnect],
  ['network disconnect n s', {}],
  ['sandbox create', sandbox],
  ['sandbox ls', [sandbox]],
  ['sandbox inspect web', [sandbox]],
  ['sandbox rm a', ['a']],
  ['endpoint ls', replies.endpointList],
  ['publish web 8080:80', service],
  ['unpublish web', {}],
  ['service ls', [service]],
  ['service inspect web', [service]],
  ['drift', replies.drift],
  ['drift --fix', replies.driftFix],
  ['self-test', replies.selfTest],
  ['reload', replies.reload],
  ['leave --dry-run', { DryRun: true, ...replies.dryRun }],
  ['wait --converged', replies.wait],
];

for (const [typed, document] of documents) {
  test(`weft ${typed} --json`, async () => {
    const words = typed.split(' ');
    assert.deepEqual(JSON.parse(await ok(agent, [...words, '--json'])), document);
    assert.deepEqual(JSON.parse(await ok(agent, ['--json', ...words])), document);
    if (words[1] === 'inspect') assert.deepEqual(JSON.parse(await ok(agent, words)), document);
  });
}

test('weft version --json', async () => {
  const both = JSON.parse(await ok(agent, ['version', '--json']));
  assert.equal(both.Client.Version, version);
  assert.deepEqual(both.Agent, replies.version);
  assert.deepEqual(Object.keys(JSON.parse(await ok(agent, ['version', '--client', '--json']))), ['Client']);
});

test('status of a node in no cluster says what to do', async () => {
  const inactive = { NodeID: '', ClusterID: '', Role: '', State: 'inactive', Peers: [], Warnings: [], Offenders: [] };
  const unmeasured = { Buckets: [], Count: 0, SumMs: 0, MaxMs: 0, Unmeasured: 0, Clocks: [] };
  const kernel = { State: 'ok', Pending: 0, Failed: [], Waiting: [], Repairs: 0 };
  agent.answers.set('status', {
    status: 200,
    body: { ...status, ...inactive, Kernel: kernel, GatewayBridge: null, Propagation: unmeasured },
  });
  assert.equal(
    await ok(agent, ['status']),
    `Node:     alpha
State:    inactive
Agent:    version 0.1.0, up 5 minutes
Kernel:   ok
Gateway:  -

This node is in no cluster: \`weft init\` makes one, \`weft join\` joins one.
`,
  );
});

test('a sandbox that the kernel does not have whole says why', async () => {
  const late = sandbox.Networks.map((endpoint) => ({ ...endpoint, Status: 'no VTEP yet' }));
  agent.answers.set('sandboxList', { status: 200, body: [{ ...sandbox, Networks: late }] });
  assert.match(await ok(agent, ['sandbox', 'ls']), / frontend: no VTEP yet /);
});

test("names from other hosts cannot move the terminal's cursor", async () => {
  agent.answers.set('nodeList', { status: 200, body: [{ ...nodes[0], Hostname: 'a\x1b[2Jb\x9b1m\n' }] });
  const shown = await ok(agent, ['node', 'ls']);
  assert.match(shown, /a\?\[2Jb\?1m\?/);
  assert.equal(shown.split('\n').length, 3);
});

test('a warning of the agent is for stderr, the id alone for stdout', async () => {
  agent.answers.set('networkCreate', { status: 200, body: { Id: 'x1', Warning: 'MTU of the underlay is 1400' } });
  assert.deepEqual(await failing(agent, ['network', 'create', 'n']), {
    code: 0,
    stdout: 'x1\n',
    stderr: 'weft: MTU of the underlay is 1400\n',
  });
});

test('a service without endpoints is published, and said to have none; a port that is another one is marked', async () => {
  const [port] = service.Ports;
  const plain = { ...service, EndpointSpec: { Mode: 'dnsrr' }, VirtualIPs: [], Prefer: 'none', DrainMs: 0 };
  const lost = { ...port, LostTo: 'shop on network backend' };
  agent.answers.set('servicePublish', { status: 200, body: { ...plain, Ports: [lost], Endpoints: [] } });
  assert.deepEqual(await failing(agent, ['publish', 'web', '8080:80']), {
    code: 0,
    stdout: '*:8080->80/tcp (it is of shop on network backend)\n',
    stderr: 'weft: nothing on network frontend is called web yet\n',
  });
  agent.answers.set('servicePublish', { status: 200, body: { ...plain, Ports: [{ ...port, PublishMode: 'host' }] } });
  assert.equal(await ok(agent, ['publish', '--mode', 'host', 'web', '8080:80']), '*:8080->80/tcp (host)\n');
  agent.answers.set('serviceList', { status: 200, body: [{ ...plain, Endpoints: null, AffinityMs: 0 }] });
  assert.match(await ok(agent, ['service', 'ls']), /^web +frontend +dnsrr +- .* - +- +-$/m);
  const alone = { ...service, Ports: [], Endpoints: service.Endpoints?.map((each) => ({ ...each, Backend: false })) };
  agent.answers.set('serviceList', { status: 200, body: [alone] });
  assert.match(await ok(agent, ['service', 'ls']), /^web +frontend +vip 10\.0\.1\.9 +1\/2 +- +- +keep /m);
  agent.answers.set('serviceList', {
    status: 200,
    body: [{ ...alone, VirtualIPs: [], LostVIP: 'endpoint db has it' }],
  });
  assert.match(await ok(agent, ['service', 'ls']), /^web +frontend +vip \(lost: endpoint db has it\) /m);
});

test('progress is told at a terminal only, when it takes long, and taken away again', async () => {
  const slow = { status: 200, body: replies.leave };
  agent.answers.set('leave', 'hang');
  const running = failing(agent, ['leave'], { terminal: true });
  // Waits out the time before the line shows; the agent then goes, which ends the command.
  await new Promise((resolve) => setTimeout(resolve, 500));
  const other = await FakeAgent.start();
  other.answers.set('leave', slow);
  assert.deepEqual(await failing(other, ['leave'], { terminal: true }), {
    code: 0,
    stdout: 'Node left the cluster.\n',
    stderr: '',
  });
  await other[Symbol.asyncDispose]();
  agent.drop();
  assert.ok((await running).stderr.startsWith('Leaving the cluster …\r\x1b[Kweft: '));
});
