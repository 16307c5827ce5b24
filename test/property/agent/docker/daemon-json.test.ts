import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { withoutResolver, withResolver } from '../../../../agent/docker/daemon-json.ts';

const own = '172.18.0.1';
const address = fc.constantFrom(own, '192.0.2.1', '192.0.2.2', '2001:db8::1');
const settings = fc
  .tuple(
    fc.dictionary(fc.oneof(fc.string(), fc.constantFrom('"', '\\', '{', 'DNS')), fc.jsonValue(), { maxKeys: 5 }),
    fc.option(fc.array(address, { maxLength: 4 })),
    fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 3 }),
  )
  .map(([before, dns, after]) => {
    const { dns: _, ...all } = { ...before, ...after };
    return Object.fromEntries(
      [...Object.entries(before), ...(dns === null ? [] : [['dns', dns] as const]), ...Object.entries(after)].filter(
        ([key, value]) => key in all || value === dns,
      ),
    );
  });
const indent = fc.constantFrom('', '  ', '    ', '\t', 1);

test('added, ours is the first and all else is as before; taken out again, the text is the same', () => {
  fc.assert(
    fc.property(settings, indent, fc.constantFrom('', '\n'), (value, space, end) => {
      const text = JSON.stringify(value, null, space) + end;
      const before = JSON.parse(text) as { dns?: string[] };
      const added = withResolver(text, own, null);
      assert.ok(added.ok && added.text !== null);
      const { dns = [], ...rest } = before;
      const { dns: now, ...restNow } = JSON.parse(added.text) as { dns?: string[] };
      assert.deepEqual(restNow, rest);
      assert.deepEqual(now, dns[0] === own ? dns : [own, ...dns]);
      if (added.ours === null) return assert.equal(added.text, text);
      assert.deepEqual(withResolver(added.text, own, added.ours), added);
      assert.deepEqual(withoutResolver(added.text, added.ours), { ok: true, text, ours: null });
    }),
  );
});
