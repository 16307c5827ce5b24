import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Stream } from '@libp2p/interface';
import type { NodeId } from '../../../controlplane/ids.ts';
import { Pings } from '../../../controlplane/mesh/pings.ts';

test('a ping ends with its own signal, also while the stream opens for an earlier one that has more time', async () => {
  const peer = 'peer' as NodeId;
  const never = new Promise<Stream>(() => {});
  const pings = new Pings(() => never);
  const [patient, short] = [new AbortController(), new AbortController()];
  const first = pings.ping(peer, patient.signal);
  const second = pings.ping(peer, short.signal);
  short.abort();
  await assert.rejects(second, /in time/);
  patient.abort();
  await assert.rejects(first, /in time/);
});
