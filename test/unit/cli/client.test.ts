import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { ApiError, LocalClient, TimeoutError } from '../../../agent/api/client.ts';
import { reportOf } from '../../../agent/cli/failure.ts';
import { FakeAgent } from './fake-agent.ts';

let agent: FakeAgent;
before(async () => {
  agent = await FakeAgent.start();
});
after(() => agent[Symbol.asyncDispose]());
beforeEach(() => agent.answers.clear());

test('a call has a time limit, and that is exit code 4', async () => {
  agent.answers.set('status', 'hang');
  const client = new LocalClient({ socketPath: agent.socketPath, timeoutMs: 50 });
  await assert.rejects(client.call('status'), (error) => {
    assert.ok(error instanceof TimeoutError);
    assert.match(error.message, /did not answer GET \/v1\/status within 0\.05 s$/);
    assert.equal(reportOf(error).exitCode, 4);
    return true;
  });
});

test('a call can be aborted, and throws the reason', async () => {
  agent.answers.set('status', 'hang');
  const client = new LocalClient({ socketPath: agent.socketPath });
  const reason = new Error('enough');
  const controller = new AbortController();
  const call = client.call('status', { signal: controller.signal });
  controller.abort(reason);
  await assert.rejects(call, reason);
  await assert.rejects(client.call('status', { signal: AbortSignal.abort(reason) }), reason);
});

test('a refusal keeps status, code and hint', async () => {
  agent.refuse('leave', 409, 'not_member', 'this node is in no cluster', 'Join first.');
  const client = new LocalClient({ socketPath: agent.socketPath });
  await assert.rejects(client.call('leave', { body: {} }), (error) => {
    assert.ok(error instanceof ApiError);
    const { status, code, message, hint } = error;
    assert.deepEqual([status, code, message, hint], [409, 'not_member', 'this node is in no cluster', 'Join first.']);
    return true;
  });
});

test('a reply is cut off at 64 MiB', async () => {
  agent.answers.set('nodeList', { status: 200, body: `["${'x'.repeat(64 * 1024 * 1024)}"]` });
  const client = new LocalClient({ socketPath: agent.socketPath });
  await assert.rejects(client.call('nodeList'), /the reply to GET \/v1\/nodes is larger than 67108864 bytes/);
});

test('an empty reply with status 204 is an empty object', async () => {
  agent.answers.set('leave', { status: 204, body: '' });
  assert.deepEqual(await new LocalClient({ socketPath: agent.socketPath }).call('leave', { body: {} }), {});
});
