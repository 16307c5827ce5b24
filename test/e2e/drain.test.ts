import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Node, Service } from '../../agent/api/schema.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { refusal } from '../lab/verbs.ts';
import { Held, serveIn, tally, webOn } from '../lab/who.ts';

describe('a drained node', { timeout: 120_000 }, () => {
  const stage = useLab({ hosts: 3 });

  it('gets no new connections of published ports, keeps those it has, and answers for others', async () => {
    const { lab } = stage;
    const [one, two, three] = [lab.host(1), lab.host(2), lab.host(3)];
    await webOn(lab, [1, 2]);
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

  it('with a drain timeout is given so long, and without one as long as connections last', async () => {
    const { lab } = stage;
    const [one, two, three] = [lab.host(1), lab.host(2), lab.host(3)];
    const of = async (name: string): Promise<Held> => {
      for (;;) {
        const held = await Held.open(three, one.address, 8080);
        if (held.by === name) return held;
        await held.end();
      }
    };
    const [first, second] = [await of('web-1'), await of('web-2')];
    await one.weft('publish', '--drain-timeout', '1s', 'web');
    await settled(lab);
    await one.weft('node', 'drain', two.name);
    await settled(lab);
    await second.goesOn();
    await second.ends();
    await first.goesOn();
    await one.weft('node', 'activate', two.name);
    await settled(lab);
    await first.end();
  });

  it('datagrams move on when their endpoint is removed, or its host dies, whether or not anything drains', async () => {
    const { lab } = stage;
    const [one, two, three] = [lab.host(1), lab.host(2), lab.host(3)];
    await one.weft('publish', 'web', '8081:9000/udp');
    const third = await two.createSandbox({ Name: 'web-3', Networks: ['frontend'], Aliases: ['web'] });
    await serveIn(third, 9000);
    await settled(lab);
    const of = async (name: string): Promise<Held> => {
      for (;;) {
        const held = await Held.open(three, one.address, 8081, 'udp');
        if (held.by === name) return held;
        await held.end();
      }
    };
    const reached = async () => Object.keys(await tally(three, one.address, 8081, 30, 'udp')).length === 3;
    await eventually('all to be reached', reached);
    const [first, second, removed] = [await of('web-1'), await of('web-2'), await of('web-3')];
    await two.weftJson('sandbox', 'rm', 'web-3');
    await removed.movesOn();
    await second.goesOn();
    await two.linkDown();
    await second.movesOn(30_000);
    await first.goesOn();
    for (const held of [first, second, removed]) await held.end();
  });
});
