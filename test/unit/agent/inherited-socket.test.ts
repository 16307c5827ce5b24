import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inheritedSocket } from '../../../agent/daemon/notify.ts';

test('a socket that systemd holds is found by its name, and only by the process that it is for', () => {
  const of = (environment: NodeJS.ProcessEnv): number | null => inheritedSocket(environment, 7, 'docker');
  assert.equal(of({ LISTEN_PID: '7', LISTEN_FDS: '1', LISTEN_FDNAMES: 'docker' }), 3);
  assert.equal(of({ LISTEN_PID: '7', LISTEN_FDS: '2', LISTEN_FDNAMES: 'other:docker' }), 4);
  assert.equal(of({ LISTEN_PID: '8', LISTEN_FDS: '1', LISTEN_FDNAMES: 'docker' }), null);
  assert.equal(of({ LISTEN_PID: '7', LISTEN_FDS: '1', LISTEN_FDNAMES: 'other:docker' }), null);
  assert.equal(of({ LISTEN_PID: '7', LISTEN_FDS: 'x', LISTEN_FDNAMES: 'docker' }), null);
  assert.equal(of({}), null);
});
