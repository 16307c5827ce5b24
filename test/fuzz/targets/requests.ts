import assert from 'node:assert/strict';
import { decode, encode } from '../../../controlplane/encoding.ts';
import { newCertificateRequest } from '../../../controlplane/identity/authority.ts';
import type { NodeId } from '../../../controlplane/ids.ts';
import { parseRenewal } from '../../../controlplane/keys/wire.ts';
import { signStatement } from '../../../controlplane/liveness/statement.ts';
import { maxFrameBytes } from '../../../controlplane/mesh/transport.ts';
import { type CompareReply, toWireAsk } from '../../../controlplane/tables/pull.ts';
import { clusterTopic, ownerBytes } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import type { Fate, Target } from '../engine.ts';
import { byteInputs, type Inputs, mayRefuse, msgpackInputs } from '../inputs.ts';
import { founding, network, networkId, Renewed, ring } from './nodes.ts';

/** What a request may be refused with: the asker is told this text, and nothing else happens. */
const refusals =
  /^not msgpack$|^malformed |^cannot look at that node$|^the request is |^not a PKCS#10 |does not have that mesh key$/;

interface Method {
  readonly method: string;
  readonly weight?: number;
  readonly inputs: Inputs;
  /** What the answer to a valid request holds. */
  readonly holds: (answer: Uint8Array) => boolean;
  readonly exact?: string;
}

const isEmpty = (answer: Uint8Array): boolean => Array.isArray(decode(answer));

/** Each request that members make of each other. */
export async function requestTargets(): Promise<Target[]> {
  const [manager, worker] = [await identityOf(1, 'manager'), await identityOf(2, 'worker')];
  const from = manager.key.nodeId;
  const make = async () => {
    const node = await founding([manager, worker]);
    // Who is asked asks back in some cases, and hears nothing new.
    node.transport.connect(from, 'inbound');
    node.transport.answer = async () => encode({ streams: [], more: false, differing: [], foreign: [], nowMs: 1 });
    return node;
  };
  const nodes = new Renewed(make);
  const { cluster } = await make();
  const topics = [clusterTopic, network];
  const positions = new Map([[cluster.self, cluster.tables.position(clusterTopic, cluster.self)]]);
  const own = new Map([
    [cluster.self, { epoch: 2, seq: 1, sum: 7, ahead: 9, before: { epoch: 1, seq: 3, sum: 5, ahead: 0 } }],
  ]);
  const asks = [
    [toWireAsk({ topic: clusterTopic, range: { from: null, until: from }, positions: own })],
    topics.map((topic) => toWireAsk({ topic, range: { from: null, until: null }, positions: new Map() })),
    [toWireAsk({ topic: clusterTopic, range: null, positions })],
  ];
  const digests = topics.map((topic) => [topic, Buffer.from(cluster.tables.digest(topic), 'hex')]);
  const statement = signStatement(
    manager.key,
    manager.clusterId,
    { subject: cluster.self, incarnation: { epoch: 1, count: 1 }, claim: 'silent' },
    1,
  );
  const [networkKey = Buffer.alloc(32)] = cluster.identity.networkKeys;
  const [meshKey] = cluster.credentials.meshKeys;
  const methods: readonly Method[] = [
    {
      method: 'compare',
      weight: 6,
      inputs: msgpackInputs([
        { digests, own: [[network, 1, 4]] },
        { digests: [], own: [] },
      ]),
      holds: (answer) => Array.isArray((decode(answer) as CompareReply).differing),
    },
    {
      method: 'pull',
      weight: 9,
      inputs: msgpackInputs(asks),
      holds: (answer) => Array.isArray((decode(answer) as { streams: unknown }).streams),
    },
    {
      method: 'range',
      weight: 6,
      inputs: msgpackInputs([['subnet'], ['vni'], [ring], [ring, 9]]),
      holds: (answer) => 'grant' in (decode(answer) as object),
    },
    {
      method: 'digest',
      inputs: msgpackInputs([[null], [networkId]]),
      holds: (answer) => clusterTopic in (decode(answer) as { topics: object }).topics,
    },
    {
      method: 'positions',
      inputs: msgpackInputs([topics, []]),
      holds: (answer) => typeof decode(answer) === 'object',
    },
    {
      method: 'look',
      inputs: msgpackInputs([[ownerBytes(cluster.self)]]),
      holds: isEmpty,
      exact: 'nodes are looked at that are known, and that is one',
    },
    {
      method: 'liveness',
      inputs: msgpackInputs([[[statement.payload, statement.signature]], []]),
      holds: isEmpty,
    },
    {
      method: 'renew',
      inputs: byteInputs([await newCertificateRequest(manager.key)]),
      holds: (answer) => parseRenewal(answer) !== null,
      exact: 'a request is signed',
    },
    {
      method: 'mesh-key',
      inputs: byteInputs([Buffer.from(meshKey?.digest ?? '', 'hex')]),
      holds: (answer) => Buffer.from(networkKey).equals(answer),
      exact: 'the digest of a key',
    },
  ];
  // Whose connection it is says it all: what comes with these is not looked at. Each changes what the node is.
  const bare = ['stand-down', 'step-down', 'leave'].map((method) => ({
    ...{ method, inputs: msgpackInputs([[]]), holds: isEmpty },
  }));
  return [
    ...methods.map((each) => target(each, nodes, from)),
    ...bare.map((each) => target(each, new Renewed(make), from)),
    unknownMethod(nodes, from),
  ];
}

function target({ method, weight = 3, inputs, holds, exact }: Method, nodes: Nodes, from: NodeId): Target {
  return {
    name: `request ${method}`,
    weight,
    ...inputs,
    ...(exact === undefined ? {} : { exact }),
    take: async (body: Uint8Array): Promise<Fate> => {
      const { events } = await nodes.get();
      const answer = await mayRefuse(refusals, () => events.request(method, body, from));
      if (answer === null) return 'refused';
      assert.ok(answer.length <= maxFrameBytes);
      return holds(answer) ? 'taken' : 'read';
    },
  };
}

type Nodes = Renewed<Awaited<ReturnType<typeof founding>>>;

function unknownMethod(nodes: Nodes, from: NodeId): Target {
  return {
    name: 'request of an unknown method',
    weight: 3,
    valid: [],
    make: (random) => random.bytes(random.between(0, 40)).toString('latin1'),
    take: async (method: string): Promise<Fate> => {
      const { events } = await nodes.get();
      await assert.rejects(events.request(method, new Uint8Array(), from), /^Error: unknown method /);
      return 'refused';
    },
    exact: 'none is taken',
  };
}
