import assert from 'node:assert/strict';
import { checkCertificateRequest, newCertificateRequest } from '../../../controlplane/identity/authority.ts';
import type { Checked } from '../../../controlplane/identity/certificates.ts';
import { JoinCall } from '../../../controlplane/identity/join.ts';
import { readAnswer } from '../../../controlplane/identity/join-client.ts';
import type { Identity } from '../../../controlplane/identity/state.ts';
import { digestOf, formatToken, parseToken } from '../../../controlplane/identity/token.ts';
import { identityFrom } from '../../../controlplane/joining.ts';
import { identityOf } from '../../sim/identities.ts';
import { simulationStartMs } from '../../sim/time.ts';
import type { Fate, Target } from '../engine.ts';
import { byteInputs, bytesOf, documented, jsonInputs, jsonTextOf, mayRefuse } from '../inputs.ts';
import { jsonOf } from '../mutate.ts';

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');

/** What strangers and users hand in: joins, tokens, certificates. */
export async function joinTargets(): Promise<Target[]> {
  const identity = await identityOf(1, 'worker');
  const csr = await newCertificateRequest(identity.key);
  const secret = Buffer.alloc(16, 3);
  const joinCalls: Target = {
    name: 'join requests',
    weight: 6,
    ...jsonInputs([{ secret: base64(secret), request: base64(csr), vtep: '2001:db8::7' }]),
    take: async (text: string): Promise<Fate> => {
      const call = await mayRefuse(/JSON|Unexpected|Expected/, () => JoinCall.safeParse(JSON.parse(text)));
      if (call?.success !== true) return 'refused';
      return (await checkCertificateRequest(Buffer.from(call.data.request, 'base64'))).ok ? 'taken' : 'read';
    },
  };
  const certificateRequests: Target = {
    name: 'certificate requests',
    weight: 6,
    ...byteInputs([csr]),
    take: async (bytes: Uint8Array): Promise<Fate> => {
      const checked = await checkCertificateRequest(bytes);
      if (!checked.ok) return checked.reason.startsWith('not a PKCS#10') ? 'refused' : 'read';
      assert.equal(checked.nodeId, identity.key.nodeId, 'a request that nobody signed');
      return 'taken';
    },
  };
  return [
    joinCalls,
    joinReplies(identity, secret),
    tokenTarget(secret),
    certificateTarget(identity),
    certificateRequests,
  ];
}

function joinReplies({ key, clusterId, certificate, trust }: Identity, secret: Uint8Array): Target {
  const root = trust.current.der;
  const bootstrap = {
    ...{ clusterId, role: 'worker', certificate: base64(certificate), authorities: [] },
    ...{ roots: [{ root: base64(root), cross: null }], networkKeys: [base64(Buffer.alloc(32))] },
    peers: [{ id: key.nodeId, addresses: ['192.0.2.1:7946'] }],
  };
  const refusal = { code: 'join_token_invalid', message: 'no' };
  const token = { caDigest: digestOf(root), secret };
  const addressing = { advertise: '192.0.2.2:7946', vtep: '192.0.2.2', device: null };
  return {
    name: 'join replies',
    weight: 9,
    valid: [[200, jsonOf(bootstrap)]],
    make: (random) => [random.pick([200, 200, 403, 500]), jsonTextOf(random, [bootstrap, bootstrap, refusal])],
    take: async ([status, text]: [number, string]): Promise<Fate> => {
      const read = await documented(/^status |^the answer is not/, () => readAnswer(status, Buffer.from(text), 'host'));
      if (read === null) return 'refused';
      const joined = await documented(null, () => identityFrom(read, key, token, addressing, simulationStartMs));
      return joined === null ? 'read' : 'taken';
    },
  };
}

function tokenTarget(secret: Uint8Array): Target {
  const valid = [formatToken({ caDigest: Buffer.alloc(32, 9), secret })];
  return {
    name: 'tokens',
    weight: 6,
    valid,
    make: (random) =>
      Buffer.from(
        bytesOf(
          random,
          valid.map((text) => Buffer.from(text)),
        ),
      ).toString('latin1'),
    take: (text: string): Fate => {
      const parsed = parseToken(text);
      if (parsed.ok) return 'taken';
      assert.ok(parsed.reason.length < 200 && !parsed.reason.includes('\n'), 'a reason of one line');
      return /malformed/.test(parsed.reason) ? 'read' : 'refused';
    },
  };
}

function certificateTarget({ certificate, trust, key }: Identity): Target {
  const inputs = byteInputs([certificate, trust.current.der]);
  const fate = (checked: Checked): Fate => {
    if (!checked.ok) return checked.reason === 'not an X.509 certificate' ? 'refused' : 'read';
    assert.equal(checked.member.nodeId, key.nodeId, 'a certificate that nobody signed');
    return 'taken';
  };
  return {
    name: 'certificates',
    weight: 9,
    valid: [certificate],
    make: inputs.make,
    take: (bytes: Uint8Array): Fate => {
      const fates = [trust.check(bytes, simulationStartMs), trust.recognise(bytes)].map(fate);
      assert.equal(fates[0], fates[1], 'its date is good');
      return fates[0] ?? 'refused';
    },
  };
}
