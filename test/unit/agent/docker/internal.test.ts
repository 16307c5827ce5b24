import assert from 'node:assert/strict';
import { test } from 'node:test';
import { internalWarnings } from '../../../../agent/docker/internal.ts';

test('containers on internal networks alone are named where somebody is there on another host', () => {
  const endpoint = (name: string, networkId: string, netns: string | null = `/netns/${name}`) =>
    ({ leg: { networkId }, netns, name }) as never;
  const warnings = (endpoints: never[], owners: Record<string, string[]>) =>
    internalWarnings(endpoints, {
      self: 'self',
      view: {
        networks: new Map([
          ['shut', { name: 'shut', internal: true }],
          ['also', { name: 'also', internal: true }],
          ['open', { name: 'open', internal: false }],
        ]),
        endpointsOf: (id: string) => new Map((owners[id] ?? []).map((owner, at) => [String(at), { owner }])),
      },
    } as never);
  const others = { shut: ['self', 'other'], open: ['other'] };
  const [line, ...more] = warnings(
    [endpoint('a', 'shut'), endpoint('b', 'shut'), endpoint('b', 'also'), endpoint('c', 'shut'), endpoint('c', 'open')],
    others,
  );
  assert.match(
    line ?? '',
    /^containers of other hosts on internal network shut have no names for a, b: .*; use addresses/,
  );
  assert.deepEqual(more, []);
  assert.deepEqual(warnings([endpoint('a', 'shut')], { shut: ['self'] }), []);
  assert.deepEqual(
    warnings([endpoint('a', 'open'), endpoint('gone', 'shut', null), endpoint('old', 'lost')], others),
    [],
  );
  const many = Array.from({ length: 7 }, (_, at) => endpoint(`n${at}`, 'shut'));
  assert.match(warnings(many, others)[0] ?? '', / for n0, n1, n2, n3, n4, …: /);
});
