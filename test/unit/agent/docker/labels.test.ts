import assert from 'node:assert/strict';
import { test } from 'node:test';
import { askedOf, unheardOf } from '../../../../agent/docker/labels.ts';
import { ListedContainers } from '../../../../agent/docker/shapes.ts';

const networks: Record<string, { name: string; ingress: boolean; internal: boolean }> = {
  f: { name: 'front', ingress: false, internal: false },
  b: { name: 'back', ingress: false, internal: false },
  i: { name: 'ingress', ingress: true, internal: false },
  s: { name: 'shut', ingress: false, internal: true },
};
const asked = (labels: Record<string, string>, on: readonly string[] = ['f'], name = 'web-1') => {
  const containers = ListedContainers.parse([
    {
      ...{ Id: 'c1', Names: [`/${name}`], Labels: labels, State: 'running', Status: 'Up' },
      NetworkSettings: {
        Networks: Object.fromEntries(on.map((id) => [id, { NetworkID: id, EndpointID: id === '-' ? '' : `on-${id}` }])),
      },
    },
  ]);
  const found = askedOf(containers, (id) => networks[id] ?? null);
  return { asked: [...found.asked], problems: found.problems };
};

test('a container asks for ports by its label, as its Compose service or else by its name', () => {
  const ports = [
    ['tcp', 8080, 80, 1],
    ['udp', 8000, 90, 11],
  ];
  const label = { 'weft.publish': '8080:80, 8000-8010:90-100/udp' };
  assert.deepEqual(asked(label), { asked: [['on-f', { service: 'web-1', ports }]], problems: [] });
  assert.deepEqual(asked({ ...label, 'com.docker.compose.service': 'web' }).asked, [
    ['on-f', { service: 'web', ports }],
  ]);
  assert.deepEqual(asked({}), { asked: [], problems: [] });
  assert.deepEqual(asked(label, ['-']), { asked: [], problems: [] }, 'one that does not run');
  assert.deepEqual(asked(label, ['bridge']), { asked: [], problems: [] }, 'none of ours');
});

test('it asks on its one network that leads out, or on the one that another label names', () => {
  const label = { 'weft.publish': '8080:80' };
  const where = (labels: Record<string, string>, on: readonly string[]) => {
    const found = asked({ ...label, ...labels }, on);
    return found.problems.length > 0 ? found.problems : found.asked.map(([endpoint]) => endpoint);
  };
  assert.deepEqual(where({}, ['i', 's', 'f', 'bridge']), ['on-f']);
  assert.deepEqual(where({ 'weft.network': 'back' }, ['f', 'b']), ['on-b']);
  const has = 'container web-1 has the label weft.publish="8080:80": it is';
  assert.deepEqual(where({}, ['f', 'b']), [
    `${has} on the networks back, front: say with the label weft.network which one is meant`,
  ]);
  assert.deepEqual(where({ 'weft.network': 'shut' }, ['f', 's']), [
    `${has} not on network "shut", which its label weft.network names`,
  ]);
});

test('a label that makes no sense is named, and nothing of it is heeded', () => {
  for (const [label, why] of [
    ['8080', /want PUBLISHED/],
    ['8080:80,nonsense', /"nonsense"/],
    ['192.0.2.1:8080:80', /leave the address out/],
    [Array.from({ length: 9 }, (_, at) => `${at + 1}:80`).join(), /more than 8/],
  ] as const) {
    const { asked: all, problems } = asked({ 'weft.publish': label });
    assert.deepEqual([all, problems.length], [[], 1], label);
    assert.match(problems[0] ?? '', why);
  }
  assert.match(asked({ 'weft.publish': '1:1', 'com.docker.compose.service': '-' }).problems[0] ?? '', /can be called/);
});

test('a worker says of what runs on it that it is not heard', () => {
  const asks = { service: 'web', ports: [['tcp', 80, 80, 1]] } as Parameters<typeof unheardOf>[0][number]['asks'];
  const netns = '/run/docker/netns/1';
  const lines = unheardOf(
    [
      { name: 'web-1', netns, asks },
      { name: 'db', netns, asks: null },
      { name: 'stopped', netns: null, asks },
    ] as Parameters<typeof unheardOf>[0],
    'beta',
  );
  assert.equal(lines.length, 1);
  assert.match(
    lines[0] ?? '',
    /container web-1 .* not a manager: run it on one, or there `weft publish web`, or `weft node update --label-add weft.publish=allow beta` /,
  );
});
