import assert from 'node:assert/strict';
import { namesOf } from '../../../agent/docker/containers.ts';
import { withoutResolver, withResolver } from '../../../agent/docker/daemon-json.ts';
import { DockerError } from '../../../agent/docker/errors.ts';
import { EventLines } from '../../../agent/docker/events.ts';
import { Container, Info, ListedContainers, Networks, readReply, Version } from '../../../agent/docker/shapes.ts';
import { planImport, swarmView } from '../../../agent/docker/swarm.ts';
import { chooseVersion } from '../../../agent/docker/version.ts';
import { isName, isPort, maxPorts } from '../../../controlplane/tables/kinds.ts';
import type { Target } from '../engine.ts';
import { jsonInputs, jsonTextOf, takenIf } from '../inputs.ts';
import { jsonOf } from '../mutate.ts';

const networks = [
  [
    {
      ...{
        Name: 'web',
        Id: '5f1c',
        Scope: 'global',
        Driver: 'weft',
        EnableIPv6: false,
        Attachable: true,
        Labels: null,
      },
      IPAM: { Driver: 'weft', Options: {}, Config: [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' }] },
      Containers: { c1: { Name: 'a', EndpointID: 'e1', MacAddress: '02:42:0a:00:01:02', IPv4Address: '10.0.1.2/24' } },
      Options: { encrypted: '' },
    },
  ],
];
const ofSwarm = [
  {
    ...{ Name: 'shop', Id: 'k4go', Scope: 'swarm', Driver: 'overlay', EnableIPv6: true, ConfigFrom: { Network: '' } },
    IPAM: {
      Config: [
        {
          Subnet: '10.60.0.0/24',
          IPRange: '10.60.0.128/25',
          Gateway: '10.60.0.9',
          AuxiliaryAddresses: { r: '10.60.0.2' },
        },
        { Subnet: 'fd00:63::/64', Gateway: 'fd00:63::1' },
      ],
    },
    Options: { 'com.docker.network.driver.mtu': '1400', 'com.docker.network.driver.overlay.vxlanid_list': '4098' },
    Labels: { 'com.docker.stack.namespace': 'shop' },
  },
];
const infos = [
  { ID: 'D1', Name: 'a', Swarm: { LocalNodeState: 'active', ControlAvailable: true, Error: '' } },
  { Swarm: { LocalNodeState: 'locked', ControlAvailable: false, Error: 'unlock it' } },
];
const endpoint = { Aliases: ['db', 'c1'], NetworkID: '5f1c', EndpointID: 'e1', IPAddress: '10.0.1.2', IPPrefixLen: 24 };
const containers = [
  {
    ...{
      Id: 'c1',
      Name: '/web',
      Config: { Hostname: 'c1', Domainname: '', Labels: { a: 'b' }, ExposedPorts: { '80/tcp': {} } },
    },
    HostConfig: { PortBindings: { '53/udp': [{ HostIp: '', HostPort: '5353' }] } },
    State: { Status: 'running', Running: true, Pid: 712, Health: { Status: 'healthy' } },
    NetworkSettings: { SandboxID: 's1', SandboxKey: '/var/run/docker/netns/s1', Networks: { web: endpoint } },
  },
  [
    {
      ...{
        Id: 'c1',
        Names: ['/web'],
        Labels: { 'weft.dns': 'healthy' },
        State: 'running',
        Status: 'Up 1 second (healthy)',
      },
      NetworkSettings: { Networks: { web: endpoint } },
    },
  ],
];
const versions = [
  { ApiVersion: '1.41', MinAPIVersion: '1.12' },
  { ApiVersion: '1.52', MinAPIVersion: '1.44' },
];
const start = {
  ...{ status: 'start', Type: 'container', Action: 'start', Actor: { ID: 'c1', Attributes: { name: 'web' } } },
  ...{ time: 1_700_000_000, timeNano: 1.7e18 },
};
const connect = {
  ...{
    Type: 'network',
    Action: 'connect',
    Actor: { ID: 'n1', Attributes: { container: 'c1', type: 'weft' } },
    time: 17,
  },
};

const settings = [
  { 'live-restore': true, dns: ['192.0.2.1', '2001:db8::1'], 'log-opts': { 'max-size': '10m', tag: '"dns": ["' } },
  { debug: true, labels: ['a=b'] },
  {},
];

const unlessRefused = (read: () => boolean) => {
  try {
    return takenIf(read());
  } catch (error) {
    if (error instanceof DockerError) return takenIf(false);
    throw error;
  }
};

/** What Docker's own API answers, its stream of events, and its settings. */
export const dockerTargets = (): Target[] => [
  {
    name: 'docker networks',
    weight: 1,
    ...jsonInputs(networks),
    take: (body: string) =>
      unlessRefused(() => {
        const read = readReply('list', { status: 200, body }, Networks);
        for (const { id, labels } of read) assert.ok(id !== '' && labels instanceof Map);
        return read.length > 0;
      }),
  },
  {
    name: 'docker networks of a swarm',
    weight: 1,
    ...jsonInputs([ofSwarm]),
    take: (body: string) =>
      unlessRefused(() => {
        const docker = readReply('list', { status: 200, body }, Networks);
        const planned = planImport({ docker, weft: [] });
        for (const { state, request, reason } of planned) {
          assert.equal(state === 'absent', request !== null);
          assert.equal(state === 'absent', reason === '');
        }
        return planned.some(({ state }) => state === 'absent');
      }),
  },
  {
    name: 'docker info',
    weight: 1,
    ...jsonInputs(infos),
    take: (body: string) =>
      unlessRefused(() => {
        const view = swarmView(readReply('info', { status: 200, body }, Info));
        assert.notEqual(view.ok || view.reason, '');
        return true;
      }),
  },
  {
    name: 'docker containers',
    weight: 1,
    ...jsonInputs(containers),
    take: (body: string) =>
      unlessRefused(() => {
        const reply = { status: 200, body };
        if (body.startsWith('[')) return readReply('list', reply, ListedContainers).length > 0;
        const container = readReply('inspect', reply, Container);
        // What comes of it is written to the tables.
        for (const { name, aliases, ports } of namesOf(container).values()) {
          assert.ok([name, ...aliases].every(isName) && ports.every(isPort) && ports.length <= maxPorts);
        }
        return true;
      }),
  },
  {
    name: 'docker versions',
    weight: 1,
    ...jsonInputs(versions),
    take: (body: string) =>
      unlessRefused(() => {
        const chosen = chooseVersion(readReply('version', { status: 200, body }, Version));
        // It becomes a part of a path.
        assert.match(chosen, /^\d+\.\d+$/);
        return true;
      }),
  },
  {
    name: 'docker events',
    weight: 1,
    valid: [`${jsonOf(start)}\n`, `${jsonOf(connect)}\n${jsonOf(start)}\n{"Type"`],
    make: (random): string => `${jsonTextOf(random, [start, connect])}\n${jsonTextOf(random, [connect])}\n`,
    take: (text: string) => {
      const bytes = Buffer.from(text);
      const read = new EventLines().push(bytes);
      const half = new EventLines();
      const middle = bytes.length >> 1;
      const cut = [bytes.subarray(0, middle), bytes.subarray(middle)];
      assert.deepEqual(
        cut.flatMap((part) => half.push(part)),
        read,
      );
      return takenIf(read.some(({ type }) => type !== 'unreadable'));
    },
  },
  {
    name: 'docker daemon.json',
    weight: 1,
    ...jsonInputs(settings),
    take: (text: string) => {
      const added = withResolver(text, '172.18.0.1', null);
      if (!added.ok) return takenIf(false);
      // Not deeply: what is nested too far to be compared is taken all the same.
      const seen = (of: string | null) => {
        const { dns = [], ...rest } = JSON.parse(of?.trim() || '{}') as { dns?: string[] };
        return { dns, keys: Object.keys(rest) };
      };
      const [before, after] = [seen(text), seen(added.text)];
      assert.deepEqual(after.keys, before.keys);
      if (added.ours === null) return takenIf(added.text === text && before.dns[0] === '172.18.0.1');
      assert.deepEqual(after.dns, ['172.18.0.1', ...before.dns]);
      const undone = withoutResolver(added.text, added.ours);
      assert.ok(undone.ok && undone.text !== null);
      assert.deepEqual(seen(undone.text), before);
      return takenIf(true);
    },
  },
];
