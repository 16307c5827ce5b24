import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Change, type Ours, withoutResolver, withResolver } from '../../../../agent/docker/daemon-json.ts';

const own = '172.18.0.1';

function made(change: Change): { text: string | null; ours: Ours | null } {
  assert.ok(change.ok, change.ok ? '' : change.reason);
  return { text: change.text, ours: change.ours };
}

const cases: readonly (readonly [string, string | null, string])[] = [
  ['no file', null, '{\n  "dns": ["172.18.0.1"]\n}\n'],
  ['an object of nothing', '{}\n', '{\n  "dns": ["172.18.0.1"]\n}\n'],
  [
    'two spaces, no dns',
    '{\n  "live-restore": true,\n  "labels": [\n    "a=b"\n  ]\n}\n',
    '{\n  "live-restore": true,\n  "labels": [\n    "a=b"\n  ],\n  "dns": ["172.18.0.1"]\n}\n',
  ],
  ['tabs', '{\n\t"mtu": 1400\n}', '{\n\t"mtu": 1400,\n\t"dns": ["172.18.0.1"]\n}'],
  ['one line', '{"mtu": 1400}', '{"mtu": 1400, "dns": ["172.18.0.1"]}'],
  ['others, on one line', '{"dns": ["192.0.2.1"]}', '{"dns": ["172.18.0.1", "192.0.2.1"]}'],
  [
    'others, a line each',
    '{\r\n    "dns": [\r\n        "192.0.2.1",\r\n        "192.0.2.2"\r\n    ],\r\n    "debug": true\r\n}',
    '{\r\n    "dns": [\r\n        "172.18.0.1",\r\n        "192.0.2.1",\r\n        "192.0.2.2"\r\n    ],\r\n    "debug": true\r\n}',
  ],
  ['an empty list', '{ "dns": [ ] }', '{ "dns": ["172.18.0.1" ] }'],
  [
    'words that look like the key',
    '{"a":"\\"dns\\":[}","b":{"dns":[1]},"d\\u006es":[]}',
    '{"a":"\\"dns\\":[}","b":{"dns":[1]},"d\\u006es":["172.18.0.1"]}',
  ],
];

for (const [what, before, after] of cases) {
  test(`it is added, and taken out again without a trace: ${what}`, () => {
    const added = made(withResolver(before, own, null));
    assert.equal(added.text, after);
    assert.ok(added.ours);
    assert.deepEqual(made(withResolver(added.text, own, added.ours)), added, 'once is enough');
    assert.deepEqual(made(withoutResolver(added.text, added.ours)), { text: before, ours: null });
  });
}

test('an empty file is one of no settings', () => {
  assert.equal(made(withResolver(' \n', own, null)).text, '{\n  "dns": ["172.18.0.1"]\n}\n');
});

test('what stands first already is nobody of ours', () => {
  const text = '{"dns": ["172.18.0.1"]}';
  assert.deepEqual(made(withResolver(text, own, null)), { text, ours: null });
});

test('an address of before goes, and what was made for it is still known', () => {
  const old = made(withResolver(null, '172.19.0.1', null));
  const now = made(withResolver(old.text, own, old.ours));
  assert.deepEqual(now, {
    text: '{\n  "dns": ["172.18.0.1"]\n}\n',
    ours: { address: own, madeKey: true, madeFile: true },
  });
  assert.equal(made(withoutResolver(now.text, now.ours as Ours)).text, null);
});

test('what others wrote in the meantime stays', () => {
  const { text, ours } = made(withResolver(null, own, null));
  const more = (text as string).replace(']', ', "192.0.2.1"]');
  assert.equal(made(withoutResolver(more, ours as Ours)).text, '{\n  "dns": ["192.0.2.1"]\n}\n');
  const moved = '{"dns": ["192.0.2.1", "172.18.0.1"], "debug": true}';
  assert.equal(made(withResolver(moved, own, ours)).text, '{"dns": ["172.18.0.1", "192.0.2.1"], "debug": true}');
  assert.equal(made(withoutResolver(moved, ours as Ours)).text, '{"dns": ["192.0.2.1"], "debug": true}');
  const key = '{"dns": ["172.18.0.1"], "debug": true}';
  assert.equal(made(withoutResolver(key, ours as Ours)).text, '{"debug": true}');
  assert.equal(made(withoutResolver('{}', ours as Ours)).text, '{}', 'without our entry the file is not ours either');
});

test('what is not understood is refused', () => {
  const reasons = [
    '[]',
    'null',
    '{',
    '{"dns": "192.0.2.1"}',
    '{"dns": null}',
    '{"dns": [1]}',
    '{"dns":[],"dns":[]}',
  ].map((text) => {
    const change = withResolver(text, own, null);
    return change.ok ? 'taken' : change.reason.replace(/JSON: .*/, 'JSON');
  });
  const notList = '"dns" is no list of addresses';
  assert.deepEqual(reasons, [
    ...['it is no JSON object', 'it is no JSON object', 'it is no JSON', notList, notList, notList],
    'it has "dns" more than once',
  ]);
});
