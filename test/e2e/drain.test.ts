import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Node, Service } from '../../agent/api/schema.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { refusal } from '../lab/verbs.ts';
import { Held, serveIn, tally } from '../lab/who.ts';

describe('a drained node', { timeout: 120_000 }, () => {
  const stage = useLab({ hosts: 3 });

  it('gets no new connections of published ports, keeps those it has, and answers for others', async () => {
    const { lab } = stage;
    const [one, two, three] = [lab.host(1), lab.host(2), lab.host(3)];
    await one.weftJson('network', 'create', 'frontend');
    await settled(lab);
    for (const [host, name] of [
      [one, 'web-1'],
      [two, 'web-2'],
    ] as const) {
      await serveIn(await host.createSandbox({ Name: name, Networks: ['frontend'], Aliases: ['web'] }), 9000);
    }
    await settled(lab);
    await one.weft('publish', 'web', '8080:9000');
    const [first, second] = ['web-1', 'web-2'].map((name) => `${name} ${three.address}`);
    const seen = async (through = two): Promise<string[]> =>
      Object.keys(await tally(three, through.address, 8080, 40)).sort();
    await eventually('both to be reached', async () => (await seen()).join() === [first, second].join());
    const holding: Held[] = [];
    for (;;) {
      const held = await Held.open(three, one.address, 8080);
      holding.push(held);
      if (held.by === 'web-2') break;
    }

    assert.match(await refusal(two, 'node', 'drain', two.name), /only a manager can drain a node/);
    await one.weft('node', 'drain', two.name);
    await settled(lab);
    for (const through of [one, two])
      await eventually(
        `${through.name} to lead to the other alone`,
        async () => (await seen(through)).join() === first,
      );
    for (const held of holding) await held.goesOn();
    const [web] = await one.weftJson<Service[]>('service', 'ls');
    assert.deepEqual(
      web?.Endpoints?.map(({ Node: name, NodeAvailability }) => [name, NodeAvailability]),
      [
        [one.name, 'active'],
        [two.name, 'drain'],
      ],
    );
    assert.match((await one.weft('service', 'ls')).stdout, /^web +frontend +dnsrr +1\/2 /m);
    const nodes = await three.weftJson<Node[]>('node', 'ls');
    assert.deepEqual(
      nodes.flatMap(({ Hostname, Availability }) => (Availability === 'drain' ? [Hostname] : [])),
      [two.name],
    );

    await one.weft('node', 'activate', two.name);
    await settled(lab);
    await eventually('both to be reached again', async () => (await seen()).join() === [first, second].join());
    for (const held of holding) {
      await held.goesOn();
      await held.end();
    }
  });
});
