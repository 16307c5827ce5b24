import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request, type Server } from 'node:https';
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer, type Socket } from 'node:net';
import { after, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { issueCertificate, newAuthority, newCertificateRequest } from '../../../controlplane/identity/authority.ts';
import { toPem } from '../../../controlplane/identity/certificates.ts';
import type { Bootstrap } from '../../../controlplane/identity/join.ts';
import { joinPath, maxCallBytes, maxReplyBytes } from '../../../controlplane/identity/join.ts';
import { askToJoin } from '../../../controlplane/identity/join-client.ts';
import { type JoinVerdict, refuse, startJoinListener } from '../../../controlplane/identity/join-listener.ts';
import { newNodeKey } from '../../../controlplane/identity/keys.ts';
import { digestOf, newSecret } from '../../../controlplane/identity/token.ts';
import { wrongFamily } from '../../../controlplane/joining.ts';
import { quietLog } from './helpers.ts';

const clusterId = 'c'.repeat(25);
const nowMs = Date.now();
const authority = await newAuthority(clusterId, nowMs);
const foreign = await newAuthority(clusterId, nowMs);
const manager = newNodeKey();
const issue = (by = authority, role: 'worker' | 'manager' = 'manager') =>
  issueCertificate(by, clusterId, { ...manager, role }, nowMs);
const certificate = await issue();
const secret = newSecret();
const token = { caDigest: digestOf(authority.certificate), secret };
const csr = await newCertificateRequest(newNodeKey());
const loopback = '127.0.0.1';
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const bootstrap: Bootstrap = {
  ...{
    clusterId,
    role: 'worker',
    certificate: base64(certificate),
    roots: [{ root: base64(authority.certificate), cross: null }],
  },
  ...{
    authorities: [],
    networkKeys: [base64(Buffer.alloc(32))],
    peers: [{ id: manager.nodeId, addresses: ['127.0.0.1:1'] }],
  },
};

const closing: (() => Promise<void>)[] = [];
after(async () => {
  for (const close of closing) await close();
});

interface Seen {
  readonly secret: Buffer;
  readonly request: Buffer;
  readonly vtep: string | undefined;
}

async function listen(
  decide: (seen: Seen) => JoinVerdict = () => ({ ok: true, bootstrap }),
  monotonicMs = () => performance.now(),
) {
  const seen: Seen[] = [];
  const listener = await startJoinListener({
    listen: { host: loopback, port: 0 },
    certificate,
    authority: authority.certificate,
    pkcs8: manager.pkcs8,
    decide: async (given, wanted, vtep) => {
      const one = { secret: Buffer.from(given), request: Buffer.from(wanted), vtep };
      seen.push(one);
      return decide(one);
    },
    renew: async () => {
      throw new Error('nobody renews here');
    },
    monotonicMs,
    log: quietLog,
  });
  closing.push(listener.close);
  return { ...listener, seen, at: { host: loopback, port: listener.port } };
}

/** Something else than a manager that talks TLS, and what it is sent. */
async function pretend(chain: readonly Uint8Array[], answer: (body: string) => string | Buffer) {
  const pem = Buffer.from(manager.pkcs8).toString('base64');
  const bodies: string[] = [];
  const server: Server = createServer(
    { key: `-----BEGIN PRIVATE KEY-----\n${pem}\n-----END PRIVATE KEY-----\n`, cert: chain.map(toPem).join('') },
    async (incoming, response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
      bodies.push(Buffer.concat(chunks).toString());
      response.end(answer(bodies.at(-1) ?? ''));
    },
  );
  let received = 0;
  const gone = new Promise<void>((resolve) => {
    server.on('secureConnection', (socket) => {
      socket.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      socket.on('close', () => resolve());
      socket.on('error', () => {});
    });
    server.on('tlsClientError', () => resolve());
  });
  server.listen(0, loopback);
  await once(server, 'listening');
  closing.push(async () => {
    server.closeAllConnections();
    server.close();
  });
  return {
    at: { host: loopback, port: (server.address() as AddressInfo).port },
    bodies,
    gone,
    received: () => received,
  };
}

const join = (at: { host: string; port: number }, by = token, signal = AbortSignal.timeout(10_000)) =>
  askToJoin(at, by, csr, async (local) => ({ advertise: `${local}:7946`, vtep: local, device: null }), signal);

test('a join brings the secret and the request, and takes the answer home', async () => {
  const { at, seen } = await listen();
  const answer = await join(at);
  const addressing = { advertise: `${loopback}:7946`, vtep: loopback, device: null };
  assert.deepEqual(answer, { bootstrap, addressing });
  assert.deepEqual(seen, [{ secret: Buffer.from(secret), request: Buffer.from(csr), vtep: loopback }]);
});

test('addresses that this host cannot give are no fault of the manager, which is not asked', async () => {
  const { at, seen } = await listen();
  const own = new Error('advertise address x is not IP or IP:PORT');
  const asked = askToJoin(at, token, csr, () => Promise.reject(own), AbortSignal.timeout(10_000));
  await assert.rejects(asked, own);
  assert.deepEqual(seen, []);
});

test('a VTEP of the other family is named with one of the cluster', () => {
  assert.equal(wrongFamily('192.0.2.1', '192.0.2.2'), null);
  assert.equal(wrongFamily('fd00::1', 'fd00::2'), null);
  assert.match(wrongFamily('192.0.2.1', 'fd00::2') ?? '', /^192\.0\.2\.1 is IPv4, .* IPv6, as to fd00::2$/);
  assert.match(wrongFamily('fd00::1', '192.0.2.2') ?? '', /^fd00::1 is IPv6, .* IPv4, as to 192\.0\.2\.2$/);
});

test('each refusal of the manager comes with its code and what to do', async () => {
  for (const [status, code] of [
    [403, 'join_token_invalid'],
    [403, 'join_token_rotated'],
    [409, 'join_refused'],
    [409, 'join_wrong_family'],
    [500, 'join_failed'],
  ] as const) {
    const { at } = await listen(() => refuse(status, code, 'because'));
    await assert.rejects(join(at), (error: Error & { code: string; hint?: string }) => {
      assert.equal(error.code, code);
      assert.match(error.message, /127\.0\.0\.1:\d+ refused: because/);
      assert.ok(error.hint);
      return true;
    });
  }
});

test('an exception in the manager is an error of its own, without its text', async () => {
  const { at } = await listen(() => {
    throw new Error('a secret of the manager');
  });
  await assert.rejects(
    join(at),
    (error: Error) => /could not answer/.test(error.message) && !/secret/.test(error.message),
  );
});

test('the secret goes to nobody who does not show the CA of the token', async () => {
  const chains: [string, Uint8Array[], RegExp][] = [
    ['another CA', [await issue(foreign), foreign.certificate], /authority is another one/],
    ['no chain', [await issue(foreign)], /no certificate chain|another one/],
    ['the right CA beside a certificate that is not of it', [await issue(foreign), authority.certificate], /./],
    ['a worker', [await issue(authority, 'worker'), authority.certificate], /not that of a manager/],
  ];
  for (const [name, chain, why] of chains) {
    const fake = await pretend(chain, () => '{}');
    await assert.rejects(join(fake.at), { code: 'join_wrong_ca', message: why }, name);
    await fake.gone;
    assert.equal(fake.received(), 0, `${name}: bytes arrived`);
    assert.deepEqual(fake.bodies, [], name);
  }
});

test('who cannot be reached is named, with the reason', async () => {
  const { at, close } = await listen();
  await close();
  await assert.rejects(join(at), { code: 'join_unreachable', message: /127\.0\.0\.1:\d+: connection refused/ });
  const silent = createTcpServer((socket) => socket.on('error', () => {}));
  silent.listen(0, loopback);
  await once(silent, 'listening');
  const port = (silent.address() as AddressInfo).port;
  const aborted = new AbortController();
  const joining = join({ host: loopback, port }, token, aborted.signal);
  silent.once('connection', (socket) => {
    aborted.abort();
    socket.destroy();
  });
  await assert.rejects(joining, { code: 'join_unreachable' });
  silent.close();
  const plain = createTcpServer((socket) => socket.on('error', () => {}).end('HTTP/1.1 200 OK\r\n\r\n'));
  plain.listen(0, loopback);
  await once(plain, 'listening');
  await assert.rejects(join({ host: loopback, port: (plain.address() as AddressInfo).port }), {
    code: 'join_unreachable',
  });
  plain.close();
});

test('an answer that is none is refused', async () => {
  const chain = [certificate, authority.certificate];
  const answers: [string | Buffer, RegExp][] = [
    ['this is not JSON', /status 200 without JSON/],
    ['', /status 200 without JSON/],
    ['{}', /not one of this version/],
    [JSON.stringify({ ...bootstrap, surprise: 1 }), /not one of this version/],
    [JSON.stringify({ ...bootstrap, peers: [{ id: 'nobody', addresses: [] }] }), /not one of this version/],
    [Buffer.alloc(maxReplyBytes + 1, ' '), /too large/],
  ];
  for (const [answer, why] of answers) {
    const fake = await pretend(chain, () => answer);
    await assert.rejects(join(fake.at), { code: 'join_unreachable', message: why });
    assert.equal(fake.bodies.length, 1);
  }
});

/** A request as no joiner of ours makes it. */
function raw(
  at: { host: string; port: number; localAddress?: string },
  method: string,
  path: string,
  body: string,
): Promise<[number, string]> {
  return new Promise((resolve, reject) => {
    const http = request({ ...at, method, path, rejectUnauthorized: false, agent: false }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
      resolve([response.statusCode ?? 0, JSON.parse(Buffer.concat(chunks).toString()).code]);
    });
    http.on('error', reject);
    http.end(body);
  });
}

test('the listener answers joins only, of the size of a join', async () => {
  const { at, seen } = await listen();
  const call = { secret: base64(secret), request: base64(csr) };
  assert.deepEqual(await raw(at, 'GET', joinPath, ''), [404, 'not_found']);
  assert.deepEqual(await raw(at, 'POST', '/', JSON.stringify(call)), [404, 'not_found']);
  for (const body of [
    '',
    'no JSON',
    '[]',
    JSON.stringify({ ...call, more: 1 }),
    JSON.stringify({ secret: 'é', request: '' }),
  ]) {
    assert.deepEqual(await raw(at, 'POST', joinPath, body), [400, 'join_malformed'], body);
  }
  const large = JSON.stringify({ ...call, padding: 'x'.repeat(maxCallBytes) });
  assert.deepEqual(await raw(at, 'POST', joinPath, large), [400, 'join_malformed']);
  assert.deepEqual(seen, []);
  assert.deepEqual(await raw(at, 'POST', joinPath, JSON.stringify(call)), [200, undefined]);
});

test('attempts from one address are limited, for a minute, but those that succeed do not count', async () => {
  let monotonicMs = 1_000_000;
  let refusing = false;
  const { at, seen } = await listen(
    () => (refusing ? refuse(403, 'join_token_invalid', 'no') : { ok: true, bootstrap }),
    () => monotonicMs,
  );
  const bad = async (count: number): Promise<void> => {
    for (let attempt = 0; attempt < count; attempt += 1)
      assert.deepEqual(await raw(at, 'POST', joinPath, 'x'), [400, 'join_malformed']);
  };
  await bad(119);
  for (let joined = 0; joined < 3; joined += 1) await join(at);
  await bad(1);
  await assert.rejects(join(at), { code: 'join_rate_limited', hint: /wait a minute/ });
  assert.equal(seen.length, 3);
  monotonicMs += 60_000;
  refusing = true;
  await assert.rejects(join(at), { code: 'join_token_invalid' });
});

test('who opens connections and says nothing drives out its own, and nobody else', async () => {
  const { at } = await listen();
  const open: Socket[] = [];
  const silent = async (ends: string, socket: Socket): Promise<void> => {
    // Read, so that its end is seen.
    socket.on('error', () => {}).resume();
    open.push(socket);
    await once(socket, ends);
  };
  const call = JSON.stringify({ secret: base64(secret), request: base64(csr) });
  // From elsewhere, and from behind the same address.
  for (const localAddress of ['127.0.0.2', loopback]) {
    await silent('secureConnect', connectTls({ ...at, rejectUnauthorized: false }));
    const oldest = open.find(({ closed }) => !closed);
    assert.ok(oldest !== undefined);
    const driven = once(oldest, 'close');
    const missing = 256 - open.filter(({ closed }) => !closed).length;
    await Promise.all(Array.from({ length: missing }, () => silent('connect', connectTcp(at))));
    assert.deepEqual(await raw({ ...at, localAddress }, 'POST', joinPath, call), [200, undefined]);
    await driven;
  }
  for (const socket of open) socket.destroy();
});
