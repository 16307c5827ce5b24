import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { requestLines } from '../../../agent/api/request-lines.ts';
import { listenerOf, makeApp, serve } from '../../../agent/api/server.ts';
import { RequestError } from '../../../agent/daemon/api-error.ts';
import type { Handlers } from '../../../agent/daemon/calls/call.ts';
import { makeLog } from '../../../agent/daemon/log.ts';
import { ControlPlaneError } from '../../../controlplane/errors.ts';

const folder = mkdtempSync(join(tmpdir(), 'weft-server-'));
const socketPath = join(folder, 'weft.sock');
const log = makeLog({ logLevel: 'error', logFormat: 'json' });
const failures: { [name: string]: Error } = {};

/** Handlers that say what they were called with. */
const handlers = new Proxy({} as Handlers, {
  get: (_, name: string) => (call: object) => {
    const failure = failures[name];
    if (failure !== undefined) throw failure;
    return { name, ...call };
  },
});
const app = makeApp(handlers, { ...log, error: () => {} } as unknown as typeof log);

let server: Awaited<ReturnType<typeof serve>>;
before(async () => {
  // What a crash leaves behind is no obstacle.
  writeFileSync(socketPath, '');
  server = await serve(listenerOf(app), socketPath, null);
});
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

function call(
  method: string,
  path: string,
  body?: string,
): Promise<{ status: number; reply: { [key: string]: unknown } }> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, reply: JSON.parse(text) }));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

test('the socket is for its owner and group from the moment that it is there', () => {
  assert.equal(statSync(socketPath).mode & 0o7777, 0o660);
});

test('a second agent does not take the socket of a running one', async () => {
  await assert.rejects(serve(listenerOf(app), socketPath, null), /another agent is running/);
});

test('a call reaches its handler with reference, body and query', async () => {
  const { status, reply } = await call('DELETE', '/v1/nodes/host%2E1?force=true');
  assert.deepEqual([status, reply['name'], reply['ref']], [200, 'nodeRemove', 'host.1']);
  const created = await call('POST', '/v1/sandboxes', '{"Name":"web"}');
  assert.deepEqual(created.reply['body'], { Name: 'web', Networks: [] });
});

test('bad input is refused with what is wrong, before any handler', async () => {
  for (const [method, path, body, message] of [
    ['POST', '/v1/networks', '{', /not JSON/],
    ['POST', '/v1/networks', '[]', /expected object/i],
    ['POST', '/v1/networks', '{"Name":"a b"}', /^Name: want/],
    ['POST', '/v1/networks', '{"Name":"a","Colour":"red"}', /Colour/],
    ['POST', '/v1/networks', '{"__proto__":{"Name":"a"}}', /Name|__proto__/],
    ['GET', '/v1/endpoints?color=red', undefined, /unknown parameter color/],
  ] as const) {
    const { status, reply } = await call(method, path, body);
    assert.equal(status, 400, `${path} ${body}`);
    assert.match(String(reply['message']), message);
    assert.equal(reply['code'], 'invalid');
  }
});

test('a body over the limit is refused', async () => {
  const { status } = await call('POST', '/v1/networks', JSON.stringify({ Name: 'a'.repeat(300_000) }));
  assert.equal(status, 413);
});

test('what is no call says where to look', async () => {
  const { status, reply } = await call('GET', '/v1/nothing');
  assert.deepEqual([status, reply['code']], [404, 'no_such_call']);
  assert.match(String(reply['hint']), /openapi/);
});

test('errors keep their code and hint; our own faults are 500', async () => {
  failures['status'] = new RequestError(409, 'busy', 'it is busy', 'wait');
  assert.deepEqual(await call('GET', '/v1/status'), {
    status: 409,
    reply: { message: 'it is busy', code: 'busy', hint: 'wait' },
  });
  failures['status'] = new ControlPlaneError('exhausted', 'nothing free', 'free something');
  assert.equal((await call('GET', '/v1/status')).status, 507);
  failures['status'] = new TypeError('a bug');
  assert.deepEqual((await call('GET', '/v1/status')).reply['code'], 'internal');
  delete failures['status'];
});

test('the OpenAPI document lists every call', async () => {
  const { reply } = await call('GET', '/v1/openapi.json');
  const listed = Object.entries(reply['paths'] as object).flatMap(([path, methods]) =>
    Object.keys(methods as object).map((method) => `${method.toUpperCase()} ${path.replace('{ref}', ':ref')}`),
  );
  assert.deepEqual(listed.sort(), Object.values(requestLines).sort());
});
