import type { Reply } from '../../../agent/api/client.ts';
import type { RouteName } from '../../../agent/api/request-lines.ts';
import type { Ca, Endpoint, Network, Node, Sandbox, Service, Status } from '../../../agent/api/schema.ts';

/** The clock of all tests here. */
export const now = Date.parse('2026-03-01T12:00:00.000Z');
const ago = (seconds: number) => new Date(now - seconds * 1000).toISOString();

export const ids = {
  alpha: '12D3KooWAlphaAlphaAlphaAlphaAlphaAlphaAlphaAlphaAlph',
  beta: '12D3KooWBetaBetaBetaBetaBetaBetaBetaBetaBetaBetaBeta',
  frontend: 'f1f2f3f4f5f6f7f8f9fafbfcfdfeff00',
  web: 'a1a2a3a4a5a6a7a8a9aaabacadaeaf00',
  endpoint: 'e1e2e3e4e5e6e7e8e9eaebecedeeef00',
};

export const nodes: Node[] = [
  {
    ID: ids.alpha,
    Hostname: 'alpha',
    Role: 'manager',
    Status: 'ready',
    StatusMessage: '',
    Self: true,
    ManagerStatus: 'reachable',
    DataPathAddr: '192.0.2.10',
    PathMTU: null,
    GossipAddrs: ['192.0.2.10:7946'],
    EngineVersion: '0.1.0',
    CreatedAt: ago(7200),
    Endpoints: 2,
  },
  {
    ID: ids.beta,
    Hostname: 'beta',
    Role: 'worker',
    Status: 'down',
    StatusMessage: 'agent down',
    Self: false,
    ManagerStatus: '',
    DataPathAddr: '192.0.2.11',
    PathMTU: { Bytes: 1500, By: 'udp', MeasuredAt: ago(60), Answers: true },
    GossipAddrs: ['192.0.2.11:7946'],
    EngineVersion: '0.1.0',
    CreatedAt: ago(3600),
    Endpoints: 0,
  },
];

export const ca: Ca = {
  RootDigest: 'c'.repeat(64),
  RootCertificate: '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n',
  NotAfter: '2046-01-01T00:00:00.000Z',
  NodeCertExpiryMs: 90 * 86_400_000,
  Rotating: false,
  Nodes: 2,
  Missing: [],
};

const network: Network = {
  Name: 'frontend',
  Id: ids.frontend,
  Created: ago(600),
  Scope: 'swarm',
  Driver: 'overlay',
  EnableIPv4: true,
  EnableIPv6: false,
  IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' }] },
  Internal: false,
  Attachable: true,
  Ingress: false,
  Containers: {},
  Options: {},
  Labels: { team: 'shop' },
  Peers: [{ Name: 'alpha', IP: '192.0.2.10' }],
  VNI: 4097,
  MTU: 1450,
  MTUWhy: '',
  Digest: 'd1'.repeat(32),
  Endpoints: 3,
  Capacity: [
    {
      Subnet: '10.0.1.0/24',
      Total: 253,
      Used: 3,
      Resting: 1,
      FreeHere: 125,
      FreeElsewhere: [{ NodeID: ids.beta, Hostname: 'beta', Free: 124 }],
    },
  ],
};

export const networks: Network[] = [
  { ...network, Name: 'ingress', Id: 'i1i2i3i4i5i6i7i8i9', Ingress: true, Labels: {}, VNI: 4096, Endpoints: 1 },
  network,
];

const endpoint: Endpoint = {
  ID: ids.endpoint,
  Network: 'frontend',
  NetworkID: ids.frontend,
  Name: 'web',
  SandboxID: ids.web,
  Node: 'alpha',
  NodeID: ids.alpha,
  IPv4Address: '10.0.1.2/24',
  IPv6Address: 'fd00:1::2/64',
  MacAddress: '02:42:0a:00:01:02',
  VTEP: '192.0.2.10',
  Aliases: ['www', 'shop'],
  Ready: true,
  Ports: ['80/tcp'],
  Local: true,
};

export const sandbox: Sandbox = {
  ID: ids.web,
  Name: 'web',
  Created: ago(125),
  NetnsPath: '/proc/self/ns/net',
  Adopted: false,
  NetnsPresent: true,
  Labels: {},
  Hostname: 'web',
  Dns: [],
  DnsSearch: [],
  DnsOptions: [],
  HostnamePath: '/etc/netns/weft-a1a2a3a4a5a6/hostname',
  HostsPath: '/etc/netns/weft-a1a2a3a4a5a6/hosts',
  ResolvConfPath: '/etc/netns/weft-a1a2a3a4a5a6/resolv.conf',
  Networks: [
    {
      Network: 'frontend',
      NetworkID: ids.frontend,
      EndpointID: ids.endpoint,
      Interface: 'eth0',
      IPv4Address: '10.0.1.2/24',
      IPv6Address: '',
      MacAddress: '02:42:0a:00:01:02',
      Aliases: ['shop'],
      Status: 'ok',
    },
  ],
  Ports: { '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }] },
  Gateway: { Interface: 'eth1', IPv4Address: '172.18.0.2/16', Gateway: '172.18.0.1' },
};

export const service: Service = {
  Name: 'web',
  Network: 'frontend',
  NetworkID: ids.frontend,
  CreatedAt: ago(60),
  Ports: [
    { Protocol: 'tcp', TargetPort: 80, PublishedPort: 8080, Count: 1, PublishMode: 'ingress', LostTo: '' },
    { Protocol: 'udp', TargetPort: 53, PublishedPort: 8000, Count: 11, PublishMode: 'ingress', LostTo: '' },
  ],
  Source: 'keep',
  AffinityMs: 600_000,
  Endpoints: [
    {
      ...{ ID: ids.endpoint, Name: 'web', Node: 'alpha', NodeID: ids.alpha, NodeStatus: 'ready' },
      ...{ IPv4Address: '10.0.1.2/24', IPv6Address: '', Ready: true, Backend: true, Local: true },
    },
    {
      ...{ ID: 'e2', Name: 'web', Node: 'beta', NodeID: ids.beta, NodeStatus: 'down' },
      ...{ IPv4Address: '10.0.1.3/24', IPv6Address: '', Ready: true, Backend: true, Local: false },
    },
  ],
};

export const status: Status = {
  Version: '0.1.0',
  State: 'active',
  Hostname: 'alpha',
  StartedAt: ago(300),
  NodeID: ids.alpha,
  ClusterID: 'cafe01',
  Role: 'manager',
  Certificate: {
    NotAfter: '2026-05-30T12:00:00.000Z',
    RenewAt: '2026-04-20T12:00:00.000Z',
    Failures: 0,
    LastError: '',
  },
  JoinAddr: '192.0.2.10:2377',
  GossipAddrs: ['192.0.2.10:7946'],
  DataPathAddr: '192.0.2.10',
  DataPathPort: 4789,
  Nodes: 3,
  Managers: 1,
  Networks: 2,
  Sandboxes: 1,
  Endpoints: { Local: 1, Remote: 2 },
  Digest: 'd2'.repeat(32),
  Peers: [
    {
      ID: ids.beta,
      Hostname: 'beta',
      Status: 'alive',
      StatusSince: ago(120),
      StatusMessage: '',
      PathMTU: 1500,
      RTTMilliseconds: 0.417,
      State: 'connected',
      Since: ago(90),
      Direction: 'outbound',
      Address: '192.0.2.11:7946',
      LastError: 'connect EHOSTUNREACH',
      LastErrorAt: ago(95),
      NextRetry: '',
    },
    {
      ID: '12D3KooWGamma',
      Hostname: 'gamma',
      Status: 'suspended',
      StatusSince: ago(10),
      StatusMessage: 'agent down',
      PathMTU: null,
      RTTMilliseconds: null,
      State: 'waiting',
      Since: ago(10),
      Direction: '-',
      Address: '192.0.2.12:7946',
      LastError: 'connect ECONNREFUSED',
      LastErrorAt: ago(3),
      NextRetry: ago(-4),
    },
  ],
  Kernel: {
    State: 'failed',
    Pending: 1,
    Failed: [{ Object: 'fdb 02:42:0a:00:01:03 on wf-4097', Why: 'File exists', RetryAt: ago(-4) }],
    Waiting: [{ Object: 'overlay/4097', Why: 'waits for netns/weft' }],
    Repairs: 2,
  },
  GatewayBridge: { Name: 'docker_gwbridge', Subnet: '172.18.0.0/16' },
  Warnings: ['clock of gamma is 40 s behind'],
  Propagation: {
    Buckets: [5, 10, 25, 50].map((LeMs, i) => ({ LeMs, Count: [0, 120, 199, 199][i] ?? 0 })),
    ...{ Count: 200, SumMs: 3_000, MaxMs: 1_640, Unmeasured: 0 },
    Clocks: [
      { ID: ids.beta, Hostname: 'beta', OffsetMs: 900, RttMs: 0.4 },
      { ID: '12D3KooWGamma', Hostname: 'gamma', OffsetMs: -40_200, RttMs: 0.5 },
    ],
  },
  Offenders: [{ ID: ids.beta, Hostname: 'beta', What: 'bad signature', Count: 3, Last: ago(60) }],
};

/** What the agent answers to each call, unless a test says otherwise. */
export const replies: { readonly [N in RouteName]: Reply<N> } = {
  version: {
    Version: '0.1.0',
    ApiVersion: '1',
    NodeVersion: 'v24.0.0',
    Os: 'linux',
    Arch: 'x64',
    KernelVersion: '6.12.0',
  },
  status,
  init: {
    NodeID: ids.alpha,
    ClusterID: 'cafe01',
    JoinAddr: '192.0.2.10:2377',
    JoinTokens: { Worker: 'WFTKN-1-worker', Manager: 'WFTKN-1-manager' },
  },
  join: { NodeID: ids.beta, ClusterID: 'cafe01', Role: 'worker' },
  leave: {},
  joinToken: { Role: 'worker', Token: 'WFTKN-1-worker', JoinAddr: '192.0.2.10:2377' },
  rotateJoinToken: { Role: 'worker', Token: 'WFTKN-1-newer', JoinAddr: '192.0.2.10:2377' },
  tokenCreate: { Role: 'worker', Token: 'WFTKN-1-limited', JoinAddr: '192.0.2.10:2377' },
  tokenList: [
    { ID: '3k9x0c2m1q', Role: 'worker', CreatedAt: ago(60), ExpiresAt: ago(-3600), Uses: 2, MaxUses: 5, State: 'good' },
  ],
  tokenRemove: {},
  nodeList: nodes,
  nodeInspect: nodes[0] as Node,
  ca,
  rotateCa: ca,
  meshKey: { Digest: 'd'.repeat(64), Rotating: false, Nodes: 2, Missing: [] },
  rotateMeshKey: { Digest: 'd'.repeat(64), Rotating: false, Nodes: 2, Missing: [] },
  nodeUpdate: { Changed: true },
  nodeRemove: {},
  networkList: networks,
  networkCreate: { Id: ids.frontend, Warning: '' },
  networkInspect: network,
  networkUpdate: { Subnet: '10.0.2.0/24' },
  networkRemove: {},
  networkConnect: endpoint,
  networkDisconnect: {},
  sandboxList: [sandbox],
  sandboxCreate: sandbox,
  sandboxInspect: sandbox,
  sandboxRemove: {},
  endpointList: [endpoint],
  servicePublish: service,
  serviceUnpublish: {},
  serviceList: [service],
  serviceInspect: service,
  drift: {
    Mode: 'repair',
    Items: [
      { Object: 'remote/4097/02:42:0a:00:01:03', What: 'missing', Why: 'missing', Since: ago(4) },
      { Object: 'overlay/4097', What: 'wrong', Why: 'wb4097: is down', Since: ago(60) },
      { Object: 'foreign/br0', What: 'foreign', Why: 'a bridge device that is not ours', Since: ago(7200) },
    ],
    More: 0,
    Repaired: 0,
  },
  driftFix: { Mode: 'repair', Items: [], More: 0, Repaired: 2 },
  dryRun: { Commands: ['ip link del dev wb4097', "nft -f - <<'END'\ntable inet weft {\n}\nEND"], Conflicts: [] },
  reload: {
    Changed: [
      { Key: 'drift', From: '"observe"', To: '"repair"', Live: true },
      { Key: 'gossip-port', From: '7946', To: '7947', Live: false },
    ],
    Commands: ['ip link set dev wb4097 up'],
  },
  selfTest: {
    Results: [
      {
        ...{ ID: ids.beta, Hostname: 'beta', DataPathAddr: '192.0.2.11', Address: '10.0.0.3', State: 'ok', Fault: '' },
        ...{ Message: '', RTTMilliseconds: 0.312, Bytes: 1450 },
      },
      {
        ...{ ID: ids.alpha, Hostname: 'gamma', DataPathAddr: '192.0.2.12', Address: '', State: 'untested', Fault: '' },
        ...{ Message: 'it is suspended', RTTMilliseconds: null, Bytes: 0 },
      },
    ],
    SoftwareChecksums: false,
  },
  wait: {
    Converged: true,
    ElapsedMs: 120.4,
    Nodes: [
      { ID: ids.alpha, Hostname: 'alpha', Lag: '', Suspended: false },
      { ID: ids.beta, Hostname: 'beta', Lag: '', Suspended: false },
    ],
  },
};
