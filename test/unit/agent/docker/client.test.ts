import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { DockerClient } from '../../../../agent/docker/client.ts';
import { DockerError, type DockerErrorCode, explainConnection } from '../../../../agent/docker/errors.ts';

// What a real Docker never does: hang, talk without end, break off. The rest is told by one, in test/e2e.

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'weft-docker-client-'));
});
after(() => rmSync(directory, { recursive: true, force: true }));

type Handler = (request: IncomingMessage, response: ServerResponse) => void;
let number = 0;

/** Something on a unix socket that talks HTTP, for as long as a test runs. */
async function listening(handler: Handler): Promise<{ socketPath: string; seen: string[] } & AsyncDisposable> {
  const socketPath = join(directory, `${++number}.sock`);
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    if (request.url === '/version') response.end('{"ApiVersion":"1.41","MinAPIVersion":"1.12"}');
    else handler(request, response);
  });
  server.listen(socketPath);
  await once(server, 'listening');
  return {
    socketPath,
    seen,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

const fails = (promise: Promise<unknown>, code: DockerErrorCode, message: RegExp): Promise<void> =>
  assert.rejects(promise, (error: unknown) => {
    assert.ok(error instanceof DockerError, String(error));
    assert.deepEqual([error.code, message.test(error.message)], [code, true], error.message);
    return true;
  });

test('no Docker is told apart from one that may not be asked', async () => {
  const absent = new DockerClient({ socketPath: join(directory, 'none.sock') });
  await fails(absent.info(), 'not_running', /does not run at .*none\.sock: start it with `systemctl start docker`/);
  const file = join(directory, 'file');
  writeFileSync(file, '');
  await fails(new DockerClient({ socketPath: file }).ping(), 'not_running', /does not run/);
  const signal = new AbortController().signal;
  await fails(absent.events({ signal }), 'not_running', /^version: /);
});

test('who is not allowed is told what to be', () => {
  const error = explainConnection('/run/docker.sock', 'info', Object.assign(new Error('no'), { code: 'EACCES' }));
  assert.deepEqual([error.code, error.status], ['no_permission', 0]);
  assert.match(
    error.message,
    /^info: no permission for \/run\/docker\.sock: run as root or as a member of group docker$/,
  );
});

test('a call that is not answered in time ends, wherever it hangs', async () => {
  await using silent = await listening((request, response) => {
    if (request.url === '/v1.41/info') return;
    response.write('[');
  });
  const client = new DockerClient({ socketPath: silent.socketPath, timeoutMs: 100 });
  await fails(client.info(), 'timeout', /^info: Docker at .* did not answer within 0\.1 s$/);
  await fails(client.networks(), 'timeout', /^list networks: /);
});

test('the signal ends a call with its own reason', async () => {
  await using silent = await listening(() => {});
  const client = new DockerClient({ socketPath: silent.socketPath });
  const reason = new Error('enough');
  const controller = new AbortController();
  const asked = client.info({ signal: controller.signal });
  setImmediate(() => controller.abort(reason));
  await assert.rejects(asked, reason);
  await assert.rejects(client.info({ signal: AbortSignal.abort(reason) }), reason);
});

test('more than an answer may be ends the call', async () => {
  await using chatty = await listening((_, response) => {
    const more = (): void => {
      if (!response.destroyed) response.write(' '.repeat(65_536), more);
    };
    more();
  });
  const client = new DockerClient({ socketPath: chatty.socketPath, replyMaxBytes: 100_000 });
  await fails(client.networks(), 'bad_reply', /^list networks: the answer is larger than 100000 bytes$/);
});

test('a connection that breaks in an answer is told so', async () => {
  await using broken = await listening((_, response) => {
    response.write('[');
    setImmediate(() => response.destroy());
  });
  await fails(new DockerClient({ socketPath: broken.socketPath }).networks(), 'ended', /closed the connection/);
});

test('the version is agreed on once, and again when Docker no longer takes it', async () => {
  let refuse = false;
  await using docker = await listening((_, response) => {
    if (refuse) {
      refuse = false;
      response.statusCode = 400;
      response.end('{"message":"client version 1.41 is too old. Minimum supported API version is 1.44"}');
    } else response.end('[]');
  });
  const client = new DockerClient({ socketPath: docker.socketPath });
  await client.networks({ driver: ['weft'] });
  await client.networks();
  refuse = true;
  await client.networks();
  const list = 'GET /v1.41/networks';
  const filtered = `${list}?filters=${encodeURIComponent('{"driver":["weft"]}')}`;
  assert.deepEqual(docker.seen, ['GET /version', filtered, list, list, 'GET /version', list]);
});

test('what is no reference never becomes another route', async () => {
  const client = new DockerClient({ socketPath: join(directory, 'none.sock') });
  for (const ref of ['', '.', '..']) {
    await fails(client.network(ref), 'refused', /is not a name or an id/);
    await fails(client.removeNetwork(ref), 'refused', /is not a name or an id/);
    await fails(client.container(ref), 'refused', /is not a name or an id/);
  }
  await using docker = await listening((_, response) => response.writeHead(404).end('{"message":"no such network"}'));
  await fails(new DockerClient(docker).network('../a b?x#y'), 'refused', /no such network/);
  assert.equal(docker.seen.at(-1), 'GET /v1.41/networks/..%2Fa%20b%3Fx%23y');
});

async function toArray<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const line = '{"Type":"container","Action":"die","Actor":{"ID":"c1","Attributes":{}},"time":1}\n';

test('events end with an error when the connection does, gracefully or not, and without one by the signal', async () => {
  for (const end of ['end', 'destroy'] as const) {
    await using docker = await listening((_, response) => {
      response.write(line, () => response[end]());
    });
    const client = new DockerClient({ socketPath: docker.socketPath });
    const events = await client.events({ signal: new AbortController().signal });
    await fails(toArray(events), 'ended', /^events: Docker at .* closed the stream: it was stopped or started anew$/);
  }
  await using docker = await listening((_, response) => response.write(line));
  const controller = new AbortController();
  const client = new DockerClient({ socketPath: docker.socketPath, timeoutMs: 200 });
  const seen: string[] = [];
  for await (const event of await client.events({ signal: controller.signal })) {
    seen.push(event.type);
    controller.abort();
  }
  assert.deepEqual(seen, ['container']);
});

test('the time limit of a call is for the start of the stream, not for the stream', async () => {
  let respond = (): void => {};
  await using docker = await listening((_, response) => {
    response.flushHeaders();
    respond = () => response.write(line);
  });
  const controller = new AbortController();
  const client = new DockerClient({ socketPath: docker.socketPath, timeoutMs: 50 });
  const events = await client.events({ signal: controller.signal });
  // Longer than a call may take; there is nothing else to wait for.
  setTimeout(() => respond(), 150);
  for await (const event of events) {
    assert.equal(event.type, 'container');
    controller.abort();
  }

  await using silent = await listening(() => {});
  const other = new DockerClient({ socketPath: silent.socketPath, timeoutMs: 50 });
  await fails(other.events({ signal: new AbortController().signal }), 'timeout', /^events: .* within 0\.05 s$/);
});
