import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { callPlugin, PluginError } from '../../../../agent/plugins/client.ts';
import { findPlugin, parseSpec } from '../../../../agent/plugins/discover.ts';
import { Activate, CreateEndpoint, deviceOf, Join } from '../../../../agent/plugins/protocol.ts';

async function serving<T>(answer: RequestListener, work: (path: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'plugin-'));
  const path = join(directory, 'p.sock');
  const server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(path, resolve));
  try {
    return await work(path);
  } finally {
    server.closeAllConnections();
    server.close();
    rmSync(directory, { recursive: true });
  }
}

test('a plugin is asked as Docker asks it', async () => {
  let seen = '';
  const answer: RequestListener = (request, response) => {
    seen = `${request.method} ${request.url} ${request.headers.accept}`;
    response.end('{"Implements":["NetworkDriver"]}');
  };
  const reply = await serving(answer, (path) => callPlugin({ kind: 'unix', path }, 'Plugin.Activate', {}, Activate));
  assert.deepEqual(reply, { Implements: ['NetworkDriver'] });
  assert.equal(seen, 'POST /Plugin.Activate application/vnd.docker.plugins.v1.2+json');
});

test('one that refuses, says nonsense or too much, hangs or is not there fails with the reason', async () => {
  const failure = (answer: RequestListener): Promise<PluginError> =>
    serving(answer, async (path) => {
      const error = await callPlugin({ kind: 'unix', path }, 'M', {}, Activate, 300).catch((reason: unknown) => reason);
      assert.ok(error instanceof PluginError);
      return error;
    });
  assert.match((await failure((_, response) => response.end('{"Err":"no room"}'))).message, /^M: no room$/);
  assert.match((await failure((_, response) => response.writeHead(500).end('{"Err":"x"}'))).message, /^M: x$/);
  assert.equal((await failure((_, response) => response.writeHead(404).end('page not found'))).status, 404);
  assert.match((await failure((_, response) => response.end('<html>'))).message, /the answer is none/);
  assert.match((await failure((_, response) => response.end('{}'))).message, /the answer is none: Implements/);
  assert.match((await failure((_, response) => response.end('x'.repeat(300_000)))).message, /larger than 262144 bytes/);
  assert.match((await failure(() => {})).message, /^M: no answer within 0\.3 s$/);
  const nobody = callPlugin({ kind: 'unix', path: '/nowhere.sock' }, 'M', {}, Activate);
  await assert.rejects(nobody, (error: PluginError) => error.absent && /ENOENT/.test(error.message));
});

test('where Docker looks: sockets, then spec files', async () => {
  const root = mkdtempSync(join(tmpdir(), 'places-'));
  const places = { sockets: join(root, 'run'), specs: [join(root, 'etc'), join(root, 'usr')] };
  for (const directory of ['run/deep', 'etc', 'usr']) mkdirSync(join(root, directory), { recursive: true });
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(root, 'run/deep/deep.sock'), resolve));
  try {
    writeFileSync(join(root, 'etc/spec.spec'), 'unix:///run/spec.sock\n');
    writeFileSync(join(root, 'usr/json.json'), '{"Name":"json","Addr":"tcp://127.0.0.1:8080"}');
    writeFileSync(join(root, 'usr/bad.json'), '{"Addr":"tcp://h:1","TLSConfig":{"CAFile":"x"}}');
    writeFileSync(join(root, 'run/file.sock'), '');
    assert.deepEqual(findPlugin('deep', places), {
      ok: true,
      value: { kind: 'unix', path: join(root, 'run/deep/deep.sock') },
    });
    assert.deepEqual(findPlugin('spec', places), { ok: true, value: { kind: 'unix', path: '/run/spec.sock' } });
    assert.deepEqual(findPlugin('json', places), { ok: true, value: { kind: 'tcp', host: '127.0.0.1', port: 8080 } });
    const bad = findPlugin('bad', places);
    assert.match(bad?.ok === false ? bad.reason : '', /bad\.json: plugins that want TLS are not supported/);
    // A FIFO that nobody writes to would keep a plain read, and with it the agent, for good.
    execFileSync('mkfifo', [join(root, 'etc/fifo.spec')]);
    writeFileSync(join(root, 'etc/large.spec'), ' '.repeat(20_000));
    for (const [name, reason] of [
      ['fifo', /fifo\.spec is not a file/],
      ['large', /large\.spec is larger than 16384 bytes/],
    ] as const) {
      const found = findPlugin(name, places);
      assert.ok(found !== null && !found.ok);
      assert.match(found.reason, reason);
    }
    for (const name of ['file', 'nothing', '../etc/spec', '', '.']) assert.equal(findPlugin(name, places), null, name);
  } finally {
    server.close();
    rmSync(root, { recursive: true });
  }
});

test('a spec that names no address is refused', () => {
  for (const text of ['', 'unix://relative', 'tcp://h:0', 'tcp://h:70000', 'tcp://a b:1', 'http://h', 'ftp://h:1']) {
    assert.equal(parseSpec(text, false).ok, false, text);
  }
  for (const text of ['', '[]', '{"Addr":7}', '{}']) assert.equal(parseSpec(text, true).ok, false, text);
  assert.deepEqual(parseSpec('tcp://[::1]:80', false), { ok: true, value: { kind: 'tcp', host: '::1', port: 80 } });
});

test('what a plugin says of an endpoint is taken only where it can stand in the kernel', () => {
  const of = (joined: object, created: object = {}): ReturnType<typeof deviceOf> =>
    deviceOf(CreateEndpoint.parse(created), Join.parse(joined));
  const name = { InterfaceName: { SrcName: 'veth1', DstPrefix: 'eth' } };
  assert.deepEqual(of({}), { ok: true, value: null });
  assert.deepEqual(of({ ...name, Gateway: '10.0.0.1' }, { Interface: { MacAddress: '02:42:0A:00:00:01' } }), {
    ok: true,
    value: {
      device: { source: 'veth1', mac: '02:42:0a:00:00:01', gateway: '10.0.0.1', onLink: [], ownWay: false },
      prefix: 'eth',
    },
  });
  for (const [joined, created] of [
    [{ InterfaceName: { SrcName: '-x', DstPrefix: 'eth' } }],
    [{ InterfaceName: { SrcName: 'a b', DstPrefix: 'eth' } }],
    [{ InterfaceName: { SrcName: 'veth1', DstPrefix: 'much-too-long-a-name' } }],
    [{ ...name, Gateway: 'here' }],
    [{ ...name, StaticRoutes: [{ Destination: '10.1.0.0/16', RouteType: 0, NextHop: '10.0.0.9' }] }],
    [{ ...name, StaticRoutes: [{ Destination: 'all', RouteType: 1 }] }],
    [name, { Interface: { MacAddress: 'ff:ff:ff:ff:ff:ff' } }],
    [name, { Interface: { Address: '10.0.0.7/24' } }],
  ] as const) {
    assert.equal(of(joined, created).ok, false, JSON.stringify([joined, created]));
  }
});
