import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '../../../controlplane/encoding.ts';
import { Credentials } from '../../../controlplane/identity/credentials.ts';
import {
  isJoined,
  loadIdentity,
  markJoined,
  migrateIdentity,
  saveIdentity,
  wipe,
} from '../../../controlplane/identity/state.ts';
import { Vault } from '../../../controlplane/identity/vault.ts';
import { openStore } from '../../../controlplane/store.ts';
import { identityOf, testVault } from '../../sim/identities.ts';
import { memoryStore, settled, withFolder } from './helpers.ts';

const manager = await identityOf(0, 'manager');
const authority = manager.authorities[0];
if (authority === undefined) throw new Error('a manager has the key of the CA');
// The private key itself, without the header that any PKCS#8 file has.
const secret = Buffer.from(authority.pkcs8).subarray(-32);
const stored = (store: ReturnType<typeof memoryStore>): Buffer => Buffer.from(encode(store.get(['identity'])));

test('the key of the CA is on disk sealed only, and another vault does not open it', async () => {
  const store = memoryStore();
  await saveIdentity(store, testVault, manager, new Map());
  assert.ok(!stored(store).includes(secret));
  assert.deepEqual(loadIdentity(store, testVault)?.authorities[0]?.pkcs8, Buffer.from(authority.pkcs8));
  assert.throws(() => loadIdentity(store, new Vault(Buffer.alloc(32, 8))), { code: 'sealed_state' });
});

test('a state from before is read, and sealed at the first start', async () => {
  const store = memoryStore();
  const { key, trust, authorities: _, networkKeys, ...rest } = manager;
  const before = {
    ...{ format: 1, pkcs8: key.pkcs8, authority: trust.current.der, authorityKey: authority.pkcs8 },
    ...{ networkKey: networkKeys[0], ...rest },
  };
  await store.commit([{ key: ['identity'], value: before }]);
  assert.ok(stored(store).includes(secret));
  const identity = loadIdentity(store, testVault);
  assert.ok(identity !== null);
  await migrateIdentity(store, testVault, identity);
  assert.ok(!stored(store).includes(secret));
  const again = loadIdentity(store, testVault);
  assert.deepEqual(
    again?.networkKeys.map((each) => Buffer.from(each)),
    networkKeys,
  );
  assert.deepEqual([again?.trust.current.digest, again?.role], [trust.current.digest, 'manager']);
});

test('what was sealed and then changed does not open', () => {
  const sealed = Buffer.from(testVault.seal(secret));
  assert.deepEqual(testVault.open(sealed), secret);
  for (let at = 0; at < sealed.length; at += 1) {
    const changed = Buffer.from(sealed);
    changed[at] = (changed[at] ?? 0) ^ 1;
    assert.equal(testVault.open(changed), null);
  }
  assert.equal(testVault.open(sealed.subarray(0, 20)), null);
});

test('a change counts when it is on disk, and changes follow each other', async () => {
  const store = memoryStore();
  const credentials = new Credentials({ identity: manager, store, vault: testVault });
  const seen: number[] = [];
  credentials.watch(() => seen.push(credentials.identity.networkKeys.length));
  store.held = true;
  const add = () => credentials.change(({ networkKeys }) => ({ networkKeys: [...networkKeys, Buffer.alloc(32, 1)] }));
  const both = Promise.all([add(), add()]);
  await settled();
  assert.equal(credentials.identity.networkKeys.length, 1);
  store.release();
  await settled();
  assert.equal(credentials.identity.networkKeys.length, 2);
  assert.equal(loadIdentity(store, testVault)?.networkKeys.length, 2);
  store.release();
  await both;
  assert.deepEqual(seen, [2, 3]);
});

test('an answer that comes after leaving does not bring the identity back', async () => {
  const store = memoryStore();
  await saveIdentity(store, testVault, manager, new Map());
  const credentials = new Credentials({ identity: manager, store, vault: testVault });
  await credentials.close();
  await wipe(store);
  await credentials.change(({ networkKeys }) => ({ networkKeys: [...networkKeys, Buffer.alloc(32, 1)] }));
  assert.equal(loadIdentity(store, testVault), null);
});

test('who has left is no member after a restart, and its private key is gone from the disk', () =>
  withFolder(async (folder) => {
    const store = openStore(folder);
    await saveIdentity(store, testVault, manager, new Map());
    await markJoined(store);
    await store.commit([
      { key: ['epoch'], value: 5 },
      { key: ['own', 'cluster', 5, 'node'], value: 1 },
      { key: ['resting', 'vni', 3], value: [4, 0] },
      { key: ['gateway'], value: 'stays' },
    ]);
    await wipe(store);
    await store.close();
    const again = openStore(folder);
    assert.equal(isJoined(again), false);
    assert.equal(loadIdentity(again, testVault), null);
    assert.deepEqual([...again.entries([])], [[['gateway'], 'stays']]);
    await again.close();
  }));
