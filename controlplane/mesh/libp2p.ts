import './polyfill.ts';
import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import {
  type GossipSub,
  gossipsub,
  type Message,
  StrictNoSign,
  TopicValidatorResult,
} from '@chainsafe/libp2p-gossipsub';
import { privateKeyFromRaw } from '@libp2p/crypto/keys';
import { identify } from '@libp2p/identify';
import type { ConnectionGater, Connection as Libp2pConnection, Stream } from '@libp2p/interface';
import { noise } from '@libp2p/noise';
import { peerIdFromString } from '@libp2p/peer-id';
import { tcp } from '@libp2p/tcp';
import { lpStream } from '@libp2p/utils';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p, type Libp2p } from 'libp2p';
import { decode, encode } from '../encoding.ts';
import type { Log } from '../environment.ts';
import type { NodeKey } from '../identity/keys.ts';
import type { NodeId } from '../ids.ts';
import { formatHostPort, type HostPort, parseHostPort } from './address.ts';
import { knock } from './knock.ts';
import { type Membership, membersOnly } from './membership.ts';
import { muxer } from './muxer.ts';
import { echoPings, maxPingStreams, Pings, pingProtocol } from './pings.ts';
import { type MeshKey, meshProtector } from './protector.ts';
import { gossipDegree } from './shape.ts';
import { Strangers } from './strangers.ts';
import { type Connection, maxFrameBytes, type Transport, type TransportEvents, type Verdict } from './transport.ts';

const requestProtocol = '/weft/request/1';
// One peer's requests that are answered at a time; more wait in the muxer.
const maxInboundStreams = 64;
const answerTimeoutMs = 10_000;
// The size of a mass join behind one address; libp2p's own defaults (5 a second, 10 pending) refuse it.
const maxPendingInbound = 256;
// A manager has a share of all workers as neighbours (shape.ts): with 5,000 and three managers, some 3,400.
const maxConnections = 4096;
// A member dials when it has no connection: an older one is dead, and this end has not noticed. Two that dial each other
// at the same time have connections of the same age.
const staleAfterMs = 5_000;

const verdicts: { readonly [verdict in Verdict]: TopicValidatorResult } = {
  accept: TopicValidatorResult.Accept,
  ignore: TopicValidatorResult.Ignore,
  reject: TopicValidatorResult.Reject,
};

export interface Libp2pTransportInit extends Membership {
  readonly key: NodeKey;
  /** Keep strangers out before anything of theirs is parsed; the best first. */
  readonly meshKeys: () => readonly MeshKey[];
  readonly listen: HostPort;
  /** Milliseconds on a clock that does not jump. */
  readonly monotonicMs: () => number;
  readonly log: Log;
}

/** The mesh for real: TCP, private-network key, Noise with the exchange of certificates, Yamux, gossipsub. */
export function libp2pTransport(init: Libp2pTransportInit): Transport {
  const { key, log } = init;
  let node: Libp2p<{ pubsub: GossipSub }> | null = null;
  let events: TransportEvents | null = null;
  /** When each connection was opened: libp2p's own `timeline` is by the wall clock. */
  const openedMs = new WeakMap<Libp2pConnection, number>();

  const running = (): Libp2p<{ pubsub: GossipSub }> => {
    if (node === null) throw new Error('the mesh is not started');
    return node;
  };

  const pings = new Pings(async (peer, signal) => {
    const connection = running().getConnections(peerIdFromString(peer))[0];
    if (connection === undefined) throw new Error(`${peer} is not connected`);
    return connection.newStream(pingProtocol, { signal });
  });

  // Before the new connection is in use: gossipsub keeps to the first that it has, and a request would take it too.
  function closeStale(peer: string): void {
    const nowMs = init.monotonicMs();
    for (const connection of node?.getConnections(peerIdFromString(peer)) ?? []) {
      const stale = nowMs - (openedMs.get(connection) ?? nowMs) > staleAfterMs;
      if (stale) connection.abort(new Error('the peer has connected anew'));
    }
  }

  async function answer(stream: Stream, connection: Libp2pConnection): Promise<void> {
    const signal = AbortSignal.timeout(answerTimeoutMs);
    const frames = lpStream(stream, { maxDataLength: maxFrameBytes });
    try {
      const request = decode((await frames.read({ signal })).subarray());
      const [method, body] = Array.isArray(request) ? (request as unknown[]) : [];
      if (typeof method !== 'string' || !(body instanceof Uint8Array)) throw new Error('malformed request');
      let reply: unknown[];
      try {
        const from = connection.remotePeer.toString() as NodeId;
        reply = [true, await events?.request(method, body, from)];
      } catch (error) {
        reply = [false, error instanceof Error ? error.message : String(error)];
      }
      await frames.write(encode(reply), { signal });
      await stream.close({ signal });
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)));
      log.debug({ err: error, peer: connection.remotePeer.toString() }, 'answering a request failed');
    }
  }

  return {
    async start(handlers) {
      events = handlers;
      const started = await createLibp2p({
        start: false,
        privateKey: privateKeyFromRaw(Buffer.concat([key.seed, key.publicKey])),
        addresses: { listen: [toMultiaddr(init.listen)] },
        transports: [tcp()],
        connectionProtector: meshProtector(init.meshKeys),
        connectionEncrypters: [(components) => membersOnly(noise()(components), init, closeStale)],
        streamMuxers: [muxer()],
        connectionGater: drivingOut(new Strangers(maxPendingInbound)),
        // As in the muxer: what watches over connections is liveness.
        connectionMonitor: { enabled: false },
        connectionManager: {
          maxConnections,
          inboundConnectionThreshold: maxPendingInbound,
          // Never met: there are fewer strangers than that, and those that were driven out as long as it takes to close.
          maxIncomingPendingConnections: 2 * maxPendingInbound,
          // Redialling is the dialer's job, which knows all members and their addresses.
          reconnectRetries: 0,
        },
        services: {
          identify: identify(),
          pubsub: gossipsub({
            // Records carry their owner's signature; the envelope needs none, and equal content is one message.
            globalSignaturePolicy: StrictNoSign,
            msgIdFn: messageId,
            ...gossipDegree,
            // Encoded once for all who get it.
            batchPublish: true,
            allowPublishToZeroTopicPeers: true,
            emitSelf: false,
            // Members are proven by certificate, so many of them behind one address are no sybils.
            scoreParams: { IPColocationFactorWeight: 0 },
            maxInboundDataLength: maxFrameBytes,
          }),
        },
      });
      node = started;
      started.addEventListener('connection:open', ({ detail }) => openedMs.set(detail, init.monotonicMs()));
      started.addEventListener('peer:connect', ({ detail }) => events?.connected(detail.toString() as NodeId));
      started.addEventListener('peer:disconnect', ({ detail }) => events?.disconnected(detail.toString() as NodeId));
      await started.handle(requestProtocol, (stream, connection) => void answer(stream, connection), {
        maxInboundStreams,
      });
      await started.handle(
        pingProtocol,
        (stream, { remotePeer }) => echoPings(stream, () => events?.pinged(remotePeer.toString() as NodeId)),
        { maxInboundStreams: maxPingStreams },
      );
      await started.start();
    },
    async stop() {
      const stopping = node;
      node = null;
      events = null;
      await stopping?.stop();
    },
    publish(topic, bytes) {
      running()
        .services.pubsub.publish(topic, bytes)
        .catch((error: unknown) => log.debug({ err: error, topic }, 'publishing failed; readers will pull'));
    },
    subscribe(topic) {
      const { pubsub } = running().services;
      pubsub.topicValidators.set(topic, (from, message) =>
        events === null
          ? TopicValidatorResult.Ignore
          : verdicts[events.gossip(topic, message.data, from.toString() as NodeId)],
      );
      pubsub.subscribe(topic);
    },
    unsubscribe(topic) {
      const { pubsub } = running().services;
      pubsub.unsubscribe(topic);
      pubsub.topicValidators.delete(topic);
    },
    async request(peer, method, body, signal) {
      const connection = running().getConnections(peerIdFromString(peer))[0];
      if (connection === undefined) throw new Error(`${peer} is not connected`);
      const stream = await connection.newStream(requestProtocol, { signal });
      const frames = lpStream(stream, { maxDataLength: maxFrameBytes });
      try {
        await frames.write(encode([method, body]), { signal });
        const reply = decode((await frames.read({ signal })).subarray());
        const [ok, result] = Array.isArray(reply) ? (reply as unknown[]) : [];
        if (ok !== true || !(result instanceof Uint8Array)) throw new Error(`${method}: ${objectionFrom(result)}`);
        await stream.close({ signal });
        return result;
      } catch (error) {
        stream.abort(error instanceof Error ? error : new Error(String(error)));
        throw error;
      }
    },
    ping: (peer, signal) => pings.ping(peer, signal),
    knock,
    async dial(peer, addresses, signal) {
      const targets = addresses.flatMap((address) => {
        const parsed = parseHostPort(address);
        return parsed === null ? [] : [multiaddr(`${toMultiaddr(parsed)}/p2p/${peer}`)];
      });
      if (targets.length === 0) throw new Error('no address is known');
      await running().dial(targets, { signal });
    },
    async disconnect(peer) {
      await node?.hangUp(peerIdFromString(peer));
    },
    connections() {
      const open = new Map<NodeId, Connection>();
      for (const connection of node?.getConnections() ?? []) {
        open.set(connection.remotePeer.toString() as NodeId, {
          direction: connection.direction,
          address: fromMultiaddr(connection.remoteAddr.toString()),
          sinceMs: connection.timeline.open,
        });
      }
      return open;
    },
  };
}

/** Denies nobody: follows who dials until it has shown to be a member. */
function drivingOut(strangers: Strangers): ConnectionGater {
  return {
    denyInboundConnection(connection) {
      const id = connection.remoteAddr.toString();
      const address = connection.remoteAddr.getComponents()[0]?.value ?? '';
      connection.addEventListener('close', () => strangers.left(id), { once: true });
      strangers.came(id, address, () => connection.abort(new Error('too many that dial and say nothing')));
      return false;
    },
    denyInboundUpgradedConnection(_, connection) {
      strangers.left(connection.remoteAddr.toString());
      return false;
    },
  };
}

/** Why the peer refused, as a person may be shown it: one line, whatever it sent. */
function objectionFrom(result: unknown): string {
  return typeof result === 'string' ? result.slice(0, 200).replace(/[^\x20-\x7e]/g, '?') : 'malformed reply';
}

function messageId(message: Message): Uint8Array {
  return createHash('sha256').update(message.topic).update('\0').update(message.data).digest();
}

function toMultiaddr({ host, port }: HostPort): string {
  return `/${isIPv6(host) ? 'ip6' : 'ip4'}/${host}/tcp/${port}`;
}

function fromMultiaddr(text: string): string {
  const match = /^\/ip[46]\/([^/]+)\/tcp\/(\d+)/.exec(text);
  return match?.[1] && match[2] ? formatHostPort({ host: match[1], port: Number(match[2]) }) : text;
}
