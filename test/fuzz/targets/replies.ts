import assert from 'node:assert/strict';
import { decode, encode } from '../../../controlplane/encoding.ts';
import { newCertificateRequest } from '../../../controlplane/identity/authority.ts';
import { parseRenewal } from '../../../controlplane/keys/wire.ts';
import { parseAnswer } from '../../../controlplane/ring/refusal.ts';
import { type CompareReply, type PullReply, toWireAsk } from '../../../controlplane/tables/pull.ts';
import { clusterTopic } from '../../../controlplane/tables/record.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import { settled } from '../../unit/controlplane/helpers.ts';
import type { Fate, Target } from '../engine.ts';
import { mayRefuse, msgpackInputs, takenIf } from '../inputs.ts';
import { founding, type Listening, listening, Renewed, ring } from './nodes.ts';

/** What others answer to requests: the valid ones are what a node of the same cluster does answer. */
export async function replyTargets(): Promise<Target[]> {
  const [manager, worker] = [await identityOf(1, 'manager'), await identityOf(2, 'worker')];
  const peer = await founding([manager, worker]);
  const from = peer.cluster.self;
  const asker = manager.key.nodeId;
  const answers = async (method: string, body: unknown): Promise<unknown> =>
    decode(await peer.events.request(method, encode(body), asker));
  const all = toWireAsk({ topic: clusterTopic, range: { from: null, until: null }, positions: new Map() });
  const compared = (await answers('compare', { digests: [[clusterTopic, Buffer.alloc(32)]], own: [] })) as CompareReply;
  const pulled = (await answers('pull', [all])) as PullReply;
  const digests = await answers('digest', [null]);
  const positions = await answers('positions', [clusterTopic]);
  const grants = [await answers('range', [ring]), await answers('range', [ring, 0])];
  const renewal = await peer.events.request('renew', await newCertificateRequest(manager.key), asker);

  const founder = await identityOf(0, 'manager');
  const make = async () => {
    const node = await listening([founder, worker], manager);
    node.transport.connect(from, 'inbound');
    await settled();
    return node;
  };
  const nodes = new Renewed(make, 100);
  const informed = new Renewed(async () => {
    const node = await make();
    node.transport.answer = (_, method, body) => peer.events.request(method, body, asker);
    await node.cluster.replica.pullNow(from);
    return node;
  });
  const empty = encode({ streams: [], more: false, foreign: [] });

  const comparisons: Target = {
    name: 'reply to compare',
    weight: 6,
    ...msgpackInputs([compared, { ...compared, foreign: [clusterTopic], differing: [] }]),
    take: async (bytes: Uint8Array) => {
      const { cluster, transport } = await nodes.get();
      const before = cluster.replica.exchangesWith(from);
      transport.answer = async (_, method) => (method === 'compare' ? bytes : empty);
      cluster.replica.want(from, 'all');
      await settled();
      return takenIf(cluster.replica.exchangesWith(from) > before);
    },
  };
  const pulls: Target = {
    name: 'reply to pull',
    weight: 12,
    ...msgpackInputs([pulled]),
    take: async (bytes: Uint8Array): Promise<Fate> => {
      const { cluster, transport } = await nodes.get();
      const offences = (): string => JSON.stringify(cluster.offences.list().map(({ what, count }) => [what, count]));
      const malformed = (): number =>
        cluster.offences.list().find(({ what }) => what === 'malformed pull reply')?.count ?? 0;
      const before = [malformed(), offences()] as const;
      let asked = 0;
      transport.answer = async () => {
        asked += 1;
        return asked > 2 ? empty : bytes;
      };
      await cluster.replica.pullNow(from);
      assert.ok(asked <= 4, 'a reply without an end');
      if (malformed() > before[0]) return 'refused';
      return offences() === before[1] && cluster.tables.position(clusterTopic, from).epoch > 0 ? 'taken' : 'read';
    },
  };
  const differing = { topics: { [clusterTopic]: '0'.repeat(64) }, lacking: {}, pending: '' };
  return [
    comparisons,
    pulls,
    waiting('digest', digests, informed, (method, bytes) => (method === 'digest' ? bytes : encode(positions))),
    waiting('positions', positions, informed, (method, bytes) => (method === 'positions' ? bytes : encode(differing))),
    {
      name: 'reply to range',
      weight: 3,
      ...msgpackInputs([...grants, { grant: ['payload', 'signature'] }]),
      take: async (bytes: Uint8Array) => {
        const answer = await mayRefuse(/^not msgpack$/, () => parseAnswer(decode(bytes)));
        if (answer?.reason !== undefined) assert.match(answer.detail, /^[\x20-\x7e]{0,200}$/);
        return takenIf(answer !== null);
      },
    },
    {
      name: 'reply to renew',
      weight: 6,
      ...msgpackInputs([decode(renewal)]),
      take: (bytes: Uint8Array): Fate => {
        const reply = parseRenewal(bytes);
        if (reply === null) return 'refused';
        const checked = founder.trust.follow(reply.links).check(reply.certificate, simulationStartMs);
        if (checked.ok) assert.equal(checked.member.nodeId, asker, 'a certificate that nobody signed');
        return checked.ok ? 'taken' : 'read';
      },
    },
  ];
}

/** Answers to `weft wait`. */
function waiting(
  method: string,
  valid: unknown,
  nodes: Renewed<Listening>,
  reply: (method: string, bytes: Uint8Array) => Uint8Array,
): Target {
  return {
    name: `reply to ${method}`,
    weight: 3,
    ...msgpackInputs([valid]),
    take: async (bytes: Uint8Array) => {
      const { cluster, transport } = await nodes.get();
      const asked = new Set<string>();
      transport.answer = async (_, what) => {
        asked.add(what);
        return reply(what, bytes);
      };
      const lags = await cluster.convergence.ask(null);
      for (const { lag } of lags) assert.ok(lag.length < 2_000);
      const lag = lags.find(({ nodeId }) => nodeId !== cluster.self)?.lag;
      return takenIf(asked.has(method) && lag !== undefined && !/^malformed answer|^no answer/.test(lag));
    },
  };
}
