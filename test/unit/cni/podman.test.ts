import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Sandbox } from '../../../agent/api/schema.ts';
import { supportedVersions } from '../../../agent/cni/versions.ts';
import { FakeAgent } from '../cli/fake-agent.ts';
import { keepSandboxes } from './agent-model.ts';
import { cni } from './call.ts';

interface Recorded {
  readonly env: Record<string, string>;
  readonly stdin: Record<string, unknown>;
}

// What Podman 4.3.1 says to a plugin, recorded with a throw-away one.
const trace = readFileSync(new URL('../../fixtures/podman-cni-trace.jsonl', import.meta.url), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line) as Recorded);

let agent: FakeAgent;
let sandboxes: Map<string, Sandbox>;
before(async () => {
  agent = await FakeAgent.start();
  sandboxes = keepSandboxes(agent);
});
after(() => agent[Symbol.asyncDispose]());

test("Podman's calls, as recorded, are served one after the other", async () => {
  const answers = [];
  for (const { env, stdin } of trace) {
    const { exitCode, json } = await cni(agent.socketPath, env, stdin);
    assert.equal(exitCode, 0, JSON.stringify(json));
    answers.push({ command: env['CNI_COMMAND'], json });
  }
  assert.deepEqual(
    answers.map(({ command }) => command),
    ['VERSION', 'VERSION', 'ADD', 'DEL', 'VERSION', 'VERSION', 'ADD', 'VERSION', 'ADD'],
  );
  assert.deepEqual(answers[0]?.json, { cniVersion: '1.0.0', supportedVersions });
  assert.deepEqual(answers[2]?.json, {
    cniVersion: '0.4.0',
    interfaces: [{ name: 'eth0', mac: '02:42:0a:00:01:02', sandbox: trace[2]?.env['CNI_NETNS'] }],
    ips: [{ version: '4', interface: 0, address: '10.0.1.2/24' }],
    routes: [{ dst: '0.0.0.0/0', gw: '172.18.0.1' }],
    dns: { nameservers: [], search: [], options: [] },
  });
  assert.equal(answers[3]?.json, null);

  const created = agent.seen.filter(({ name }) => name === 'sandboxCreate').map(({ body }) => body);
  const { CNI_CONTAINERID: id = '', CNI_NETNS: netns } = trace[2]?.env ?? {};
  assert.deepEqual(created[0], {
    Interface: 'eth0',
    Labels: { 'weft.cni.container': id, 'weft.cni.attachment.eth0': 'omesh1' },
    Aliases: ['c1'],
    Name: `cni-${id.slice(0, 59)}`,
    Networks: ['omesh1'],
    NetnsPath: netns,
    Hostname: 'c1',
    ...{ Dns: [], DnsSearch: [], DnsOptions: [], Publish: [] },
  });
  assert.equal(created.length, 3);
  // The recording ends with both containers of its second part running.
  assert.deepEqual(
    [...sandboxes.values()].map(({ Labels: labels }) => labels['weft.cni.container']),
    [trace[6], trace[8]].map((each) => each?.env['CNI_CONTAINERID']),
  );
});

test('a DEL that comes again, or for what never was, is done', async () => {
  const { env = {}, stdin } = trace[3] ?? {};
  const before = sandboxes.size;
  assert.deepEqual(await cni(agent.socketPath, env, stdin), { exitCode: 0, json: null });
  assert.equal(sandboxes.size, before);
});
