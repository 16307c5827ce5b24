import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ingressSandboxName } from '../../../agent/ingress/legs.ts';
import { type MeshTables, meshOf } from '../../../agent/ingress/mesh.ts';
import { servedBy } from '../../../agent/ingress/serving.ts';
import { parseSpace } from '../../../controlplane/addresses.ts';
import type { NetworkId, NodeId } from '../../../controlplane/ids.ts';
import { type Service, type ServicePort, serviceKey } from '../../../controlplane/tables/services.ts';
import type { Endpoint, Network } from '../../../controlplane/tables/view.ts';

const [ingress, frontend] = ['i'.repeat(25), 'f'.repeat(25)] as [NetworkId, NetworkId];
const [self, other] = ['a', 'b'] as [NodeId, NodeId];
const web = serviceKey(frontend, 'web');

const endpoint = (number: number, owner: NodeId, more: Partial<Endpoint> = {}): Endpoint => ({
  ...{ id: String(number).padStart(64, '0') as Endpoint['id'], owner, networkId: ingress, name: `box-${number}` },
  ...{ sandbox: '0'.repeat(64), ip: `10.0.0.${number}`, mac: `02:00:00:00:00:0${number}`, aliases: [], createdMs: 1 },
  ...more,
});

const service = (ports: readonly Partial<ServicePort>[], more: Partial<Service> = {}): Service => ({
  ...{ key: web, network: frontend, name: 'web', stamp: [1, 0], removed: false, source: 'keep', affinityMs: 0 },
  ...{ createdMs: 1, lost: [] },
  ports: ports.map((port) => ({ protocol: 'tcp', published: 8080, target: 80, count: 1, mode: 'ingress', ...port })),
  ...more,
});

const tables = (
  services: readonly Service[],
  legs: readonly Endpoint[],
  more: Partial<MeshTables> = {},
): MeshTables => ({
  self,
  services: new Map(services.map((each) => [each.key, each])),
  networks: new Map([
    [ingress, { id: ingress, ingress: true, subnets: [{ space: parseSpace('10.0.0.0/24') }] } as unknown as Network],
  ]),
  endpoints: new Map([[ingress, new Map(legs.map((each) => [`${each.owner} ${each.id}`, each]))]]),
  isUp: () => true,
  zoneOf: () => null,
  ...more,
});

test('a published port leads to those that say that they serve it, on whatever node, and works, port by port of a range', () => {
  const legs = [
    endpoint(4, other, { serves: [web] }),
    endpoint(3, self, { serves: [web] }),
    endpoint(5, other),
    endpoint(6, other, { serves: [web], ready: false }),
  ];
  const { ports, published } = meshOf(
    tables([service([{ count: 2 }, { published: 53, protocol: 'udp', target: 5353 }])], legs),
  );
  const backends = (port: number) => ['10.0.0.3', '10.0.0.4'].map((ip) => ({ ip, port }));
  const common = { affinityMs: 0, source: 'keep' };
  assert.deepEqual(ports, [
    { protocol: 'tcp', port: 8080, backends: backends(80), ...common },
    { protocol: 'tcp', port: 8081, backends: backends(81), ...common },
    { protocol: 'udp', port: 53, backends: backends(5353), ...common },
  ]);
  assert.deepEqual(
    published.map(({ protocol, hostIp, hostPort, port }) => [protocol, hostIp, hostPort, port]),
    [
      ['tcp', null, 8080, 8080],
      ['tcp', null, 8081, 8081],
      ['udp', null, 53, 53],
    ],
  );
});

test('no new connection goes to a node that is down; without anybody left it is refused', () => {
  const legs = [endpoint(3, self, { serves: [web] }), endpoint(4, other, { serves: [web] })];
  const ips = (more: Partial<MeshTables>, source: Service['source'] = 'keep'): string[] =>
    meshOf(tables([service([{}], { source })], legs, more)).ports.flatMap(({ backends }) =>
      backends.map(({ ip }) => ip),
    );
  assert.deepEqual(ips({ isUp: (node) => node === self }), ['10.0.0.3']);
  assert.deepEqual(ips({ isUp: () => false }), []);
  assert.deepEqual(ips({ doubted: new Set([other]) }), ['10.0.0.3'], 'nor to one that has fallen silent');
  const cut = { doubted: new Set([other]), isUp: (node: NodeId) => node === other };
  assert.deepEqual(ips(cut), ['10.0.0.4'], 'unless there is nobody else');
  assert.deepEqual(ips({}, 'local'), ['10.0.0.3'], 'of this host alone');
  assert.deepEqual(ips({}, 'snat'), ['10.0.0.3', '10.0.0.4']);
});

test('in mode host a node answers for endpoints of its own alone, and leaves the port alone where it has none', () => {
  const far = endpoint(4, other, { serves: [web] });
  const near = endpoint(3, self, { serves: [web] });
  const both = service([{ mode: 'host' }, { published: 8443, target: 443 }]);
  const seen = (legs: readonly Endpoint[]) => {
    const { ports, published } = meshOf(tables([both], legs));
    return [
      ports.map(({ port, backends }) => [port, backends.map(({ ip, port: to }) => `${ip}:${to}`)]),
      published.map(({ hostPort }) => hostPort),
    ];
  };
  assert.deepEqual(seen([far]), [[[8443, ['10.0.0.4:443']]], [8443]]);
  assert.deepEqual(seen([far, { ...near, ready: false }]), [[[8443, ['10.0.0.4:443']]], [8443]]);
  assert.deepEqual(seen([far, near]), [
    [
      [8080, ['10.0.0.3:80']],
      [8443, ['10.0.0.3:443', '10.0.0.4:443']],
    ],
    [8080, 8443],
  ]);
});

test('over IPv6, too, where legs on ingress have such addresses', () => {
  const legs = [
    endpoint(1, self, { name: ingressSandboxName, ip6: 'fd00::1' }),
    endpoint(2, other, { name: ingressSandboxName }),
    endpoint(3, self, { serves: [web], ip6: 'fd00::3' }),
    endpoint(4, other, { serves: [web] }),
  ];
  const { ports, returns } = meshOf(tables([service([{}])], legs));
  assert.deepEqual(
    ports.map(({ backends }) => backends.map(({ ip }) => ip)),
    [['10.0.0.3', 'fd00::3', '10.0.0.4']],
  );
  const [path] = returns.values();
  assert.deepEqual(
    path?.gates.map(({ ip, ip6 }) => [ip, ip6]),
    [
      ['10.0.0.1', 'fd00::1'],
      ['10.0.0.2', undefined],
    ],
  );
});

test('answers go back to all gates there are, from what serves something here', () => {
  const gates = [endpoint(2, other, { name: ingressSandboxName }), endpoint(1, self, { name: ingressSandboxName })];
  const serving = endpoint(3, self, { serves: [web] });
  const { returns } = meshOf(
    tables([service([{}])], [...gates, serving, endpoint(4, self), endpoint(5, other, { serves: [web] })]),
  );
  assert.deepEqual(
    [...returns],
    [
      [
        serving.id,
        {
          mac: serving.mac,
          gates: [
            { mac: '02:00:00:00:00:01', ip: '10.0.0.1' },
            { mac: '02:00:00:00:00:02', ip: '10.0.0.2' },
          ],
        },
      ],
    ],
  );
});

test('a service is served by whoever has its name or alias on its network, if it has a port', () => {
  const on = (networkId: NetworkId, name: string, aliases: string[] = []): Endpoint =>
    endpoint(7, self, { networkId, name, aliases });
  assert.deepEqual(servedBy([on(frontend, 'web')], [service([{}])]), [web]);
  assert.deepEqual(servedBy([on(frontend, 'web-1', ['web'])], [service([{}])]), [web]);
  assert.deepEqual(servedBy([on(ingress, 'web'), on(frontend, 'webs')], [service([{}])]), []);
  assert.deepEqual(servedBy([on(frontend, 'web')], [service([{ mode: 'host' }])]), [web]);
  assert.deepEqual(servedBy([on(frontend, 'web')], [service([])]), []);
});
