import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { DryRunReply, Node, Service } from '../../agent/api/schema.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { refusal } from '../lab/verbs.ts';
import { tally, webOn } from '../lab/who.ts';

describe('endpoints that come first', { timeout: 150_000 }, () => {
  const stage = useLab({ hosts: 3 });

  it('are those of the zone, then those of the node, as long as one takes connections', async () => {
    const { lab } = stage;
    const [one, two, three] = [lab.host(1), lab.host(2), lab.host(3)];
    await webOn(lab, [1, 2]);
    await one.weft('publish', '--prefer', 'zone', 'web', '8080:9000');
    const by = async (through: Host): Promise<string> =>
      Object.keys(await tally(three, through.address, 8080, 20))
        .map((answer) => answer.split(' ')[0])
        .sort()
        .join();
    const lead = (through: Host, wanted: string) =>
      eventually(`${through.name} to lead to ${wanted}`, async () => (await by(through)) === wanted);
    for (const through of [one, two, three]) await lead(through, 'web-1,web-2');

    assert.match(await refusal(two, 'node', 'update', '--label-add', 'zone=a', two.name), /only a manager can label/);
    const dry = await one.weftJson<DryRunReply>('node', 'update', '--dry-run', '--label-add', 'zone=a', one.name);
    assert.ok(dry.Commands.length > 0, 'one would lead to its own endpoint alone');
    await one.weft('node', 'update', '--label-add', 'zone=a', '--label-add', 'rack=7', one.name);
    for (const host of [two, three]) await one.weft('node', 'update', '--label-add', 'zone=b', host.name);
    await settled(lab);
    const [known] = await three.weftJson<Node[]>('node', 'inspect', one.name);
    assert.deepEqual(known?.Spec.Labels, { zone: 'a', rack: '7' });
    await lead(one, 'web-1');
    // On three there is none: it goes by its zone.
    for (const through of [two, three]) await lead(through, 'web-2');

    const drained = await one.weftJson<DryRunReply>(
      ...(['node', 'update', '--dry-run', '--availability', 'drain'] as const),
      one.name,
    );
    assert.ok(drained.Commands.length > 0);
    await lead(one, 'web-1');
    await one.weft('node', 'drain', two.name);
    for (const through of [one, two, three]) await lead(through, 'web-1');
    await one.weft('node', 'activate', two.name);
    for (const through of [two, three]) await lead(through, 'web-2');
    await lead(one, 'web-1');

    await one.weft('publish', '--prefer', 'local', '--drain-timeout', '30s', 'web');
    await lead(three, 'web-1,web-2');
    await lead(one, 'web-1');
    await lead(two, 'web-2');
    await two.weftJson('sandbox', 'rm', 'web-2');
    await lead(two, 'web-1');
    const [shown] = await three.weftJson<Service[]>('service', 'inspect', 'web');
    assert.deepEqual([shown?.Prefer, shown?.DrainMs, shown?.EndpointSpec.Mode], ['local', 30_000, 'dnsrr']);
    assert.match((await one.weft('service', 'ls')).stdout, /^web +frontend +dnsrr +.* local +30 seconds$/m);
    await one.weft('publish', '--prefer', 'none', '--drain-timeout', 'none', 'web');
    await one.weft('node', 'update', '--label-rm', 'rack', one.name);
    assert.match(await refusal(one, 'node', 'update', '--label-rm', 'rack', one.name), /has no label rack/);
    const [plain] = await one.weftJson<Service[]>('service', 'inspect', 'web');
    assert.deepEqual([plain?.Prefer, plain?.DrainMs], ['none', 0]);
  });
});
