import { timingSafeEqual, X509Certificate } from 'node:crypto';
import { type RequestOptions, request } from 'node:https';
import { type DetailedPeerCertificate, type PeerCertificate, TLSSocket } from 'node:tls';
import { ControlPlaneError } from '../errors.ts';
import { formatHostPort, type HostPort } from '../mesh/address.ts';
import { Bootstrap, type JoinCall, JoinRefusal, joinPath, maxReplyBytes } from './join.ts';
import type { Addressing } from './state.ts';
import { digestOf, type JoinToken } from './token.ts';

const connectTimeoutMs = 5_000;
const replyTimeoutMs = 15_000;

export interface JoinAnswer {
  readonly bootstrap: Bootstrap;
  /** Where others reach this node: asked for once it is known which address this host uses towards the manager. */
  readonly addressing: Addressing;
}

/**
 * Asks one manager for membership. The secret leaves this host only after the manager has shown a chain to the CA that
 * the token pins.
 * @throws ControlPlaneError `join_unreachable`, `join_wrong_ca`, `join_token_invalid`, `join_token_rotated`, …
 */
export function askToJoin(
  manager: HostPort,
  token: JoinToken,
  csr: Uint8Array,
  addressingFor: (localAddress: string) => Promise<Addressing>,
  signal: AbortSignal,
): Promise<JoinAnswer> {
  const where = formatHostPort(manager);
  const options: RequestOptions = {
    host: manager.host,
    port: manager.port,
    method: 'POST',
    path: joinPath,
    headers: { 'content-type': 'application/json' },
    // No public CA vouches for a cluster: the digest in the token does, checked below before anything is sent.
    rejectUnauthorized: false,
    minVersion: 'TLSv1.3',
    signal,
    timeout: connectTimeoutMs,
    agent: false,
  };
  return new Promise((resolve, reject) => {
    const http = request(options);
    let addressing: Addressing | null = null;
    const fail = (error: Error): void => {
      http.destroy();
      reject(error instanceof ControlPlaneError ? error : unreachable(where, error));
    };
    // What is wrong with this host's own addresses is no fault of the manager.
    const refuseHere = (error: Error): void => {
      http.destroy();
      reject(error);
    };
    http.on('timeout', () => fail(new Error('no answer in time')));
    http.on('error', fail);
    http.on('socket', (socket) => {
      socket.on('secureConnect', () => {
        if (!(socket instanceof TLSSocket)) return fail(new Error('not a TLS connection'));
        const objection = objectionTo(socket.getPeerCertificate(true), token.caDigest);
        if (objection !== null) {
          return fail(
            new ControlPlaneError(
              'join_wrong_ca',
              `${where} is not a manager of the cluster that the token is for: ${objection}`,
              'check the address, and take a fresh token from `weft join-token` on a manager of that cluster',
            ),
          );
        }
        socket.setTimeout(replyTimeoutMs);
        addressingFor(socket.localAddress ?? '').then((found) => {
          addressing = found;
          const call: JoinCall = {
            secret: Buffer.from(token.secret).toString('base64'),
            request: Buffer.from(csr).toString('base64'),
            vtep: found.vtep,
          };
          http.end(JSON.stringify(call));
        }, refuseHere);
      });
    });
    http.on('response', (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > maxReplyBytes) return fail(new Error('the answer is too large'));
        chunks.push(chunk);
      });
      response.on('error', fail);
      response.on('end', () => {
        try {
          const bootstrap = readAnswer(response.statusCode ?? 0, Buffer.concat(chunks), where);
          if (addressing === null) throw new Error('an answer before the question');
          resolve({ bootstrap, addressing });
        } catch (error) {
          fail(error instanceof Error ? error : new Error(String(error)));
        }
      });
    });
    // The request line and headers wait for end(), so nothing is sent before the chain is checked.
  });
}

function objectionTo(leaf: PeerCertificate | DetailedPeerCertificate, caDigest: Uint8Array): string | null {
  const issuer = 'issuerCertificate' in leaf ? leaf.issuerCertificate : undefined;
  if (leaf.raw === undefined || issuer?.raw === undefined) return 'it shows no certificate chain';
  if (!timingSafeEqual(digestOf(issuer.raw), caDigest)) return 'its certificate authority is another one';
  const certificate = new X509Certificate(leaf.raw);
  const authority = new X509Certificate(issuer.raw);
  if (!certificate.checkIssued(authority) || !certificate.verify(authority.publicKey)) {
    return 'its certificate was not issued by that authority';
  }
  const now = Date.now();
  if (now < Date.parse(certificate.validFrom) || now >= Date.parse(certificate.validTo)) {
    return `its certificate is valid from ${certificate.validFrom} to ${certificate.validTo} only: compare the clocks`;
  }
  return certificate.subject.split('\n').includes('OU=weft-manager')
    ? null
    : 'its certificate is not that of a manager';
}

/** Reads a manager's reply. @throws ControlPlaneError for a refusal, an Error for what is no reply */
export function readAnswer(status: number, body: Buffer, where: string): Bootstrap {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body.toString('utf8'));
  } catch {
    throw new Error(`status ${status} without JSON`);
  }
  if (status === 200) {
    const bootstrap = Bootstrap.safeParse(parsed);
    if (!bootstrap.success) throw new Error('the answer is not one of this version of Weft');
    return bootstrap.data;
  }
  const refusal = JoinRefusal.safeParse(parsed);
  const { code, message } = refusal.success ? refusal.data : { code: 'join_failed', message: `status ${status}` };
  throw new ControlPlaneError(
    code,
    `${where} refused: ${message}`,
    hints.get(code) ?? 'the log of that manager says why',
  );
}

const makeAnother = 'make another with `weft token create` on a manager, or take that of `weft join-token`';
const hints = new Map([
  ['join_token_invalid', 'run `weft join-token worker` (or manager) on a manager and copy the whole token'],
  ['join_token_rotated', 'take the current token from `weft join-token worker` (or manager) on a manager'],
  ['join_token_expired', makeAnother],
  ['join_token_used_up', makeAnother],
  ['join_token_revoked', makeAnother],
  ['join_rate_limited', 'wait a minute, then try again'],
  ['join_wrong_family', 'give an address of that family that this host has: `--data-path-addr`'],
  ['join_refused', 'join again: each attempt makes a key of its own'],
  ['join_malformed', 'use the same version of Weft on both hosts: `weft version`'],
]);

function unreachable(where: string, error: Error): ControlPlaneError {
  const code = 'code' in error ? String(error.code) : '';
  const why =
    { ECONNREFUSED: 'connection refused', EHOSTUNREACH: 'no route to host', ENOTFOUND: 'no such host' }[code] ??
    error.message;
  return new ControlPlaneError(
    'join_unreachable',
    `cannot join through ${where}: ${why}`,
    'check the address and that TCP port 2377 of a running manager is open from here',
    error,
  );
}
