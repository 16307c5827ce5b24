import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Host } from './host.ts';
import { BRIDGE, GATEWAY, wanted } from './wanted.ts';

const TABLE = 'inet weft_user';
const RULE = 'ip saddr 192.0.2.1 drop';

test('the table for rules of the owner of the host', async (t) => {
  await using host = await Host.start();
  const listed = async (): Promise<string> => (await host.try('nft', 'list', 'table', ...TABLE.split(' '))).stdout;
  await host.set(wanted({ bridges: [GATEWAY] }));

  await t.test('is there where something is forwarded, before our own rules, and empty', async () => {
    assert.match(await listed(), /^\t\ttype filter hook forward priority filter - 5; policy accept;\n\t\}$/m);
    assert.deepEqual(await host.drift(), []);
  });
  await t.test('goes with the last bridge, and comes back when somebody deletes it', async () => {
    await host.set(wanted({}));
    assert.equal(await listed(), '');
    await host.set(wanted({ bridges: [GATEWAY] }));
    await host.log();
    await host.run('nft', `delete table ${TABLE}`);
    await host.line(/^repaired drift: .*nft table inet weft_user missing/);
    assert.notEqual(await listed(), '');
  });
  await t.test('keeps what is put in it, through all that becomes of us, and is no drift', async () => {
    await host.run('nft', `add rule ${TABLE} forward ${RULE}`);
    const theirs = await listed();
    assert.deepEqual(await host.drift(), []);
    await host.set(wanted({ bridges: [GATEWAY, BRIDGE] }));
    await host.sweep();
    await host.restart();
    await host.set(wanted({ bridges: [GATEWAY] }));
    assert.equal(await listed(), theirs);
    await host.set(wanted({}));
    await host.cleanUp();
    assert.equal(await listed(), theirs);
    await host.run('nft', `flush chain ${TABLE} forward`);
    await host.cleanUp();
    assert.equal(await host.run('nft', 'list', 'ruleset'), '');
  });
  for (const [what, change] of [
    ['a set', `add set ${TABLE} banned { type ipv4_addr; }`],
    ['a chain', `add chain ${TABLE} ours`],
    ['another policy', `add chain ${TABLE} forward { policy drop; }`],
  ] as const) {
    await t.test(`stays for ${what}, too`, async () => {
      await host.set(wanted({ bridges: [GATEWAY] }));
      await host.run('nft', change);
      const theirs = await listed();
      await host.set(wanted({}));
      await host.cleanUp();
      assert.equal(await listed(), theirs);
      await host.run('nft', `delete table ${TABLE}`);
    });
  }
  await t.test('is what its owner made it, also before us', async () => {
    await host.run('nft', `table ${TABLE} {\n chain mine { type filter hook forward priority -7; policy drop; }\n}`);
    const theirs = await listed();
    await host.set(wanted({ bridges: [GATEWAY] }));
    assert.equal(await listed(), theirs);
  });
});
