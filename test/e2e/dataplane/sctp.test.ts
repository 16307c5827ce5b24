import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { allOk, inside } from './checks.ts';
import { connect, Host } from './host.ts';
import { addClient, CLIENT_HOSTS, CLIENTS, gatePort, type Mesh, meshState } from './mesh.ts';

const TOOL = fileURLToPath(new URL('tools/sctp.mjs', import.meta.url));
const mesh: Mesh = { here: { a: [1], b: [3, 4] }, ports: [gatePort('sctp', [3, 4])] };

interface Association {
  /** `ADDRESS PORT` of who answered INIT, and COOKIE ECHO. */
  readonly ack: string;
  readonly established: string;
  /** What the backend saw, and from which port the client sent. */
  readonly seen: string;
  readonly from: number;
}

test('associations of SCTP are led to backends, which see the client, and answers come back from the published port', async () => {
  await using a = await Host.start();
  await using b = await Host.start();
  await connect(a, b);
  await Promise.all([a.set(meshState('a', mesh)), b.set(meshState('b', mesh))]);
  await Promise.all([allOk(a), allOk(b)]);
  await addClient(a, 'a');
  for (const n of [3, 4]) {
    await b.start(`import('${TOOL}').then(({ serve }) => { serve(80); process.send('ready'); });`, `weft-web${n}`);
  }
  const to = CLIENT_HOSTS.a;
  for (let at = 0; at < 4; at += 1) {
    const text = await a.run(...inside('client', process.execPath, TOOL, 'init', to, '8080'));
    const { ack, established, seen, from } = JSON.parse(text) as Association;
    assert.deepEqual(
      { ack, established, seen },
      { ack: `${to} 8080`, established: `${to} 8080`, seen: `${CLIENTS.a} ${from}` },
    );
  }
  const tracked = await a.run(...inside('weft-gate', 'cat', '/proc/net/nf_conntrack'));
  const led = [...tracked.matchAll(/sctp .* ESTABLISHED src=\S+ dst=\S+ sport=\d+ dport=8080 src=(\S+) /g)];
  assert.deepEqual(new Set(led.map(([, by]) => by)), new Set(['10.0.0.3', '10.0.0.4']), tracked);
});
