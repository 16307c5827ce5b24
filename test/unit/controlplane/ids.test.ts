import assert from 'node:assert/strict';
import { test } from 'node:test';
import { peerIdFromString } from '@libp2p/peer-id';
import { newNodeKey } from '../../../controlplane/identity/keys.ts';
import {
  isEndpointId,
  isNetworkId,
  newEndpointId,
  newNetworkId,
  nodeIdOf,
  parseNodeId,
  publicKeyOf,
  randomBase36,
} from '../../../controlplane/ids.ts';

test('a node id is what libp2p calls the key, both ways', () => {
  const { nodeId, publicKey } = newNodeKey();
  assert.deepEqual(peerIdFromString(nodeId).publicKey?.raw, new Uint8Array(publicKey));
  assert.deepEqual(Buffer.from(publicKeyOf(nodeId) ?? []), publicKey);
  assert.equal(parseNodeId(nodeId), nodeId);
});

test('text that is no id of an Ed25519 key is none', () => {
  const { nodeId } = newNodeKey();
  const rsa = 'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N';
  for (const text of ['', 'x', nodeId.slice(1), `${nodeId}1`, nodeId.replace('1', '0'), nodeId.toUpperCase(), rsa]) {
    assert.equal(parseNodeId(text), null, text);
  }
  assert.throws(() => nodeIdOf(Buffer.alloc(31)), /32 bytes, not 31/);
});

test('new ids have their form', () => {
  assert.ok(isNetworkId(newNetworkId()));
  assert.ok(isEndpointId(newEndpointId()));
  assert.match(randomBase36(200), /^[0-9a-z]{200}$/);
  assert.ok(!isNetworkId('N'.repeat(25)) && !isNetworkId('n'.repeat(24)) && !isEndpointId('e'.repeat(63)));
});
