import { X509Certificate } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Log } from '../environment.ts';
import { type NodeId, nodeIdOf } from '../ids.ts';
import type { HostPort } from '../mesh/address.ts';
import { Strangers } from '../mesh/strangers.ts';
import { toPem } from './certificates.ts';
import { type Bootstrap, JoinCall, type JoinRefusal, joinPath, maxCallBytes, renewPath } from './join.ts';
import { rawPublicKey } from './keys.ts';

// A token has 128 random bits; the limit is there against load, and to make guessing visible in the log. Joins that
// succeed do not count: any number of hosts may come from behind one address.
const attemptsPerMinute = 120;
const maxTrackedAddresses = 4096;
// Of connections that have not brought a request yet: several times a mass join behind one address.
const maxStrangers = 256;
// Those that have, and wait for the answer, come on top. One more is turned away.
const maxConnections = 2 * maxStrangers;

export type JoinVerdict =
  | { readonly ok: true; readonly bootstrap: Bootstrap }
  | { readonly ok: false; readonly status: number; readonly refusal: JoinRefusal };

export interface JoinListenerInit {
  readonly listen: HostPort;
  /** Own certificate and the CA's, DER; own private key, PKCS#8. */
  readonly certificate: Uint8Array;
  readonly authority: Uint8Array;
  readonly pkcs8: Uint8Array;
  /** @param vtep where the joiner's VXLAN traffic is to arrive; undefined when it does not say */
  readonly decide: (secret: Uint8Array, request: Uint8Array, vtep: string | undefined) => Promise<JoinVerdict>;
  /** Answers a member that asks for a certificate here; it has proved its key. @throws when it gets none */
  readonly renew: (request: Uint8Array, from: NodeId) => Promise<Uint8Array>;
  /** A clock that is never set: an attempt would count for as long as it was set back. */
  readonly monotonicMs: () => number;
  readonly log: Log;
}

export interface JoinListener {
  readonly port: number;
  /** From now on shows these: new connections get them. */
  show(chain: Pick<JoinListenerInit, 'certificate' | 'authority'>): void;
  close(): Promise<void>;
}

/** The HTTPS listener of a manager that takes joins (2377/tcp). Resolves when it listens. */
export async function startJoinListener(init: JoinListenerInit): Promise<JoinListener> {
  const attempts = new Map<string, { sinceMs: number; count: number }>();
  const strangers = new Strangers(maxStrangers);
  const key = `-----BEGIN PRIVATE KEY-----\n${Buffer.from(init.pkcs8).toString('base64')}\n-----END PRIVATE KEY-----\n`;
  const shown = ({ certificate, authority }: Pick<JoinListenerInit, 'certificate' | 'authority'>) =>
    ({ key, cert: toPem(certificate) + toPem(authority), minVersion: 'TLSv1.3' }) as const;
  const server: Server = createServer(
    {
      ...shown(init),
      handshakeTimeout: 5_000,
      requestTimeout: 10_000,
      headersTimeout: 5_000,
      connectionsCheckingInterval: 1_000,
      // A joiner has no certificate yet; a member that renews proves its key with one, be it out of date or not.
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      const from = endOf(request.socket);
      request.once('end', () => strangers.left(from));
      (request.url === renewPath ? renew(request) : handle(request)).then(
        (verdict) => send(response, verdict),
        (error: unknown) => {
          // A stranger that breaks off is no error of ours.
          (request.complete ? init.log.error : init.log.debug).call(
            init.log,
            { err: error },
            'answering a join failed',
          );
          send(response, refuse(500, 'join_failed', 'the manager could not answer; its log says why'));
        },
      );
    },
  );
  server.maxConnections = maxConnections;
  server.on('connection', (socket: Socket) => {
    const from = endOf(socket);
    strangers.came(from, socket.remoteAddress ?? '', () => socket.destroy());
    socket.once('close', () => strangers.left(from));
  });

  async function handle(request: IncomingMessage): Promise<JoinVerdict> {
    if (request.method !== 'POST' || request.url !== joinPath)
      return refuse(404, 'not_found', 'only joins are answered here');
    if (!allowed(request.socket.remoteAddress ?? '')) {
      return refuse(429, 'join_rate_limited', 'too many attempts from this address');
    }
    const call = JoinCall.safeParse(await readJson(request));
    if (!call.success) return refuse(400, 'join_malformed', 'not a join request of this version of Weft');
    const verdict = await init.decide(
      Buffer.from(call.data.secret, 'base64'),
      Buffer.from(call.data.request, 'base64'),
      call.data.vtep,
    );
    const from = request.socket.remoteAddress ?? '';
    if (verdict.ok) succeeded(from);
    else {
      init.log.warn({ from, code: verdict.refusal.code }, 'refused a join');
    }
    return verdict;
  }

  async function renew(request: IncomingMessage): Promise<JoinVerdict | Uint8Array> {
    if (!allowed(request.socket.remoteAddress ?? '')) {
      return refuse(429, 'join_rate_limited', 'too many attempts from this address');
    }
    const nodeId = provenNode(request);
    const body = await readBody(request);
    if (nodeId === null || body === undefined) return refuse(400, 'renew_malformed', 'not a renewal by a node');
    try {
      const answer = await init.renew(body, nodeId);
      succeeded(request.socket.remoteAddress ?? '');
      return answer;
    } catch (error) {
      init.log.warn({ from: request.socket.remoteAddress, node: nodeId, err: error }, 'refused a renewal');
      return refuse(403, 'renew_refused', 'the manager does not renew the certificate of this node');
    }
  }

  function allowed(address: string): boolean {
    const nowMs = init.monotonicMs();
    const seen = attempts.get(address);
    if (seen !== undefined && nowMs - seen.sinceMs < 60_000) {
      seen.count += 1;
      return seen.count <= attemptsPerMinute;
    }
    if (attempts.size >= maxTrackedAddresses) attempts.clear();
    attempts.set(address, { sinceMs: nowMs, count: 1 });
    return true;
  }

  function succeeded(address: string): void {
    const seen = attempts.get(address);
    if (seen !== undefined) seen.count -= 1;
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: init.listen.host, port: init.listen.port }, resolve);
  });
  server.on('error', (error) => init.log.error({ err: error }, 'the join listener failed'));
  return {
    port: (server.address() as AddressInfo).port,
    show: (chain) => server.setSecureContext(shown(chain)),
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

const endOf = ({ remoteAddress, remotePort }: Socket): string => `${remoteAddress} ${remotePort}`;

export function refuse(status: number, code: string, message: string): JoinVerdict {
  return { ok: false, status, refusal: { code, message } };
}

/** The node whose key the client of the TLS connection has proved to hold. */
function provenNode({ socket }: IncomingMessage): NodeId | null {
  const raw = socket instanceof TLSSocket ? socket.getPeerCertificate().raw : undefined;
  if (raw === undefined) return null;
  const { publicKey } = new X509Certificate(raw);
  return publicKey.asymmetricKeyType === 'ed25519' ? nodeIdOf(rawPublicKey(publicKey)) : null;
}

async function readBody(request: IncomingMessage): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxCallBytes) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const body = await readBody(request);
  try {
    return body === undefined ? undefined : JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
}

function send(response: ServerResponse, verdict: JoinVerdict | Uint8Array): void {
  if (verdict instanceof Uint8Array) {
    response.writeHead(200, { 'content-type': 'application/octet-stream', connection: 'close' });
    response.end(verdict);
    return;
  }
  const body = JSON.stringify(verdict.ok ? verdict.bootstrap : verdict.refusal);
  response.writeHead(verdict.ok ? 200 : verdict.status, { 'content-type': 'application/json', connection: 'close' });
  response.end(body);
}
