import { request as httpsRequest } from 'node:https';
import { TLSSocket } from 'node:tls';
import { toPem } from '../identity/certificates.ts';
import { maxReplyBytes, renewPath } from '../identity/join.ts';
import type { Identity } from '../identity/state.ts';
import { formatHostPort, type HostPort } from '../mesh/address.ts';
import { parseRenewal } from './wire.ts';

// The way back for a member that the mesh does not let in: its certificate ended, or roots or mesh keys changed, while it
// was off. It asks at the join port of a manager it remembers, with its own key as the TLS client's: that is the proof.

const connectTimeoutMs = 5_000;

export interface DoorCall {
  /** Join ports of managers, tried in order. */
  readonly managers: readonly HostPort[];
  readonly identity: Identity;
  /** PKCS#10 request for the node's own key, DER. */
  readonly request: Uint8Array;
  readonly nowMs: number;
  readonly signal: AbortSignal;
}

/** @returns the first answer that comes from a manager of this cluster @throws when there is none */
export async function askAtDoors(call: DoorCall): Promise<Uint8Array> {
  let failure: unknown = new Error('no manager is known whose join port could be asked');
  for (const manager of call.managers) {
    try {
      return await askAtDoor(manager, call);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      failure = new Error(`the join port of ${formatHostPort(manager)}: ${why}`, { cause: error });
    }
  }
  throw failure;
}

function askAtDoor({ host, port }: HostPort, { identity, request, nowMs, signal }: DoorCall): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const http = httpsRequest({
      ...{ host, port, signal, method: 'POST', path: renewPath, agent: false, timeout: connectTimeoutMs },
      headers: { 'content-type': 'application/octet-stream' },
      cert: toPem(identity.certificate),
      key: privatePem(identity.key.pkcs8),
      minVersion: 'TLSv1.3',
      // The manager's certificate may be of a root that this node does not know yet: the answer has the links to it, and
      // is believed only if they lead there. Nothing secret is sent.
      rejectUnauthorized: false,
    });
    const fail = (error: Error): void => {
      http.destroy();
      reject(error);
    };
    http.on('timeout', () => fail(new Error('no answer in time')));
    http.on('error', fail);
    http.on('response', (response) => {
      const leaf = http.socket instanceof TLSSocket ? http.socket.getPeerCertificate().raw : undefined;
      const chunks: Buffer[] = [];
      let size = 0;
      response.on('data', (chunk: Buffer) => {
        size += chunk.length;
        if (size > maxReplyBytes) return fail(new Error('the answer is too large'));
        chunks.push(chunk);
      });
      response.on('error', fail);
      response.on('end', () => {
        const body = Buffer.concat(chunks);
        const objection = objectionTo(response.statusCode ?? 0, body, leaf, identity, nowMs);
        if (objection === null) resolve(body);
        else fail(new Error(objection));
      });
    });
    http.end(request);
  });
}

/** Why an answer is not believed, or null. @param leaf the certificate that the other end showed, DER */
export function objectionTo(
  status: number,
  body: Uint8Array,
  leaf: Uint8Array | undefined,
  identity: Pick<Identity, 'trust' | 'clusterId'>,
  nowMs: number,
): string | null {
  if (status !== 200)
    return `refused with status ${status}; ${status === 429 ? 'it is asked again later' : 'its log says why'}`;
  const reply = parseRenewal(body);
  if (reply === null) return 'the answer is not one of this version of Weft';
  if (leaf === undefined) return 'it shows no certificate';
  const checked = identity.trust.follow(reply.links).check(leaf, nowMs);
  if (!checked.ok) return checked.reason;
  const { role, clusterId } = checked.member;
  return role === 'manager' && clusterId === identity.clusterId ? null : 'it is no manager of this cluster';
}

const privatePem = (pkcs8: Uint8Array): string =>
  `-----BEGIN PRIVATE KEY-----\n${Buffer.from(pkcs8).toString('base64')}\n-----END PRIVATE KEY-----\n`;
