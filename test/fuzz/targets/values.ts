import { createHash } from 'node:crypto';
import { crossSign } from '../../../controlplane/identity/authority.ts';
import type { Identity } from '../../../controlplane/identity/state.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import { makeAuthority } from '../../unit/controlplane/nodes.ts';
import { endpointId, network, networkId } from './nodes.ts';

/** What a manager may write: by kind, a topic, a key and a value. */
export interface Written {
  readonly kind: string;
  readonly topic: string;
  readonly key: string;
  readonly value: unknown;
}

const stamp = [simulationStartMs, 0];
const ring = '10.0.1.0_24';

/** One record of each kind, those of one node's stream in an order in which all of them stand. */
export async function valuesBy({ key, certificate, authorities }: Identity): Promise<Written[]> {
  const self = key.nodeId;
  const other = (await identityOf(9, 'worker')).key.nodeId;
  const [first] = authorities;
  if (first === undefined) throw new Error('the writer is no manager');
  const next = await makeAuthority(simulationStartMs);
  const cross = await crossSign(first, next);
  const digest = createHash('sha256').update(next.certificate).digest('hex');
  const narrowing = { ipRange: '10.0.1.128/25', aux: { printer: '10.0.1.9' } };
  const addresses = { ip: '10.0.1.7', ip6: 'fd00:10::7', mac: '02:42:0a:00:01:07' };
  const endpoint = { name: 'web', sandbox: '5'.repeat(64), ready: false, ports: ['80/tcp'], ...addresses };
  const grant = (start: number, end: number) => ({ start, end, to: self, generation: 1 });
  const inCluster: readonly (readonly [key: string, value: object])[] = [
    ['node', { hostname: 'b', vtep: '192.0.2.2', gossip: ['192.0.2.2:7946'], version: '0', createdMs: 0 }],
    ['cluster', { stamp, root: self, pools: ['10.0.0.0/8'], subnetBits: 24, dataPathPort: 4789 }],
    [
      `network/${networkId}`,
      {
        ...{ stamp, removed: false, name: 'blue', vni: 4097, subnet: '10.0.1.0/24', gateway: '10.0.1.1', root: self },
        ...{ internal: false, attachable: true, ingress: false, labels: { a: 'b' }, createdMs: 1, ...narrowing },
        options: { 'com.docker.network.driver.mtu': '1400' },
        ipv6: { subnet: 'fd00:10::/64', gateway: 'fd00:10::1', ipRange: 'fd00:10::/80' },
      },
    ],
    [
      `subnet/${networkId}/10.0.2.0_24`,
      { stamp, subnet: '10.0.2.0/24', gateway: '10.0.2.1', root: self, createdMs: 1, aux: {} },
    ],
    [
      `service/${networkId}/web`,
      {
        ...{ stamp, removed: false, source: 'keep', affinityMs: 600_000, createdMs: 1 },
        ports: [
          ['tcp', 8080, 80, 1, 'ingress'],
          ['udp', 8000, 53, 16, 'host'],
        ],
      },
    ],
    [
      `service/${networkId}/db`,
      {
        ...{ stamp, removed: false, source: 'keep', affinityMs: 0, createdMs: 1, ports: [] },
        ...{ prefer: 'zone', drainMs: 30_000, vip: { ip: '10.0.1.9', ip6: 'fd00:10::9' } },
      },
    ],
    ['token/worker', { stamp, sealed: Buffer.alloc(44), retired: [Buffer.alloc(44)] }],
    [
      'join-token/0123456789',
      {
        ...{ stamp, revoked: false, role: 'worker', sealed: Buffer.alloc(44), createdMs: 1 },
        ...{ expiresMs: simulationStartMs + 1_000, maxUses: 2 },
      },
    ],
    [`join-use/0123456789/${other}`, { stamp, expiresMs: simulationStartMs + 3_600_000 }],
    ['keys', { certificate, meshKey: Buffer.alloc(32) }],
    [`ca/${digest}`, { stamp, generation: 1, root: next.certificate, cross, done: false }],
    [`mesh-key/${'d'.repeat(64)}`, { stamp, generation: 1, removals: 0, done: false }],
    [`reissued/${self}`, { stamp, certificate }],
    [`removed/${other}`, { stamp }],
    [`fence/${other}/0`, { heir: self, ballot: 0 }],
    [`availability/${other}`, { stamp, availability: 'drain' }],
    [`node-labels/${other}`, { stamp, labels: { zone: 'a' } }],
    [`role/${other}`, { stamp, role: 'manager' }],
    [`on/${networkId}`, {}],
    ['range/subnet/0-16/1', grant(0, 16)],
  ];
  const inNetwork: readonly (readonly [key: string, value: object])[] = [
    [`range/${ring}/0-256/1`, grant(0, 256)],
    ['range/fd00:10::_64/0-256/1', grant(0, 256)],
    [`ep/${endpointId}`, { ...endpoint, aliases: ['www'], serves: [`${networkId}/web`], createdMs: 1 }],
    [
      `ep/${endpointId}`,
      { ...endpoint, aliases: [], asks: { service: 'web', ports: [['tcp', 80, 80, 1]] }, createdMs: 1 },
    ],
  ];
  const written = (topic: string, all: typeof inCluster): Written[] =>
    all.map(([name, value]) => ({ kind: name.replace(/\/.*/, ''), topic, key: name, value }));
  return [...written(clusterTopic, inCluster), ...written(network, inNetwork)];
}
