import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Service } from '../../agent/api/schema.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { tally, webOn } from '../lab/who.ts';

describe('a service that is published in mode host', () => {
  const stage = useLab({ hosts: 3 });

  it('is answered by nodes with an endpoint alone, each for its own, as they come and go', async () => {
    const { lab } = stage;
    const [one, two, three] = [lab.host(1), lab.host(2), lab.host(3)];
    await webOn(lab, [1, 2]);
    const published = await one.weftJson<Service>('publish', '--mode', 'host', 'web', '8080:9000');
    assert.equal(published.Ports[0]?.PublishMode, 'host');
    await settled(lab);
    for (const [host, name] of [
      [one, 'web-1'],
      [two, 'web-2'],
    ] as const) {
      await eventually(`${host.name} to answer for its own endpoint`, async () => {
        const answers = await tally(three, host.address, 8080, 10);
        return answers[`${name} ${three.address}`] === 10;
      });
    }
    assert.deepEqual(await tally(one, three.address, 8080, 2), { ECONNREFUSED: 2 }, 'nobody is there');
    await two.weft('sandbox', 'rm', 'web-2');
    await settled(lab);
    await eventually('a host without any endpoint left to answer no more', async () => {
      const answers = await tally(three, two.address, 8080, 2);
      return answers.ECONNREFUSED === 2;
    });
    assert.deepEqual(await tally(three, one.address, 8080, 10), { [`web-1 ${three.address}`]: 10 });
    assert.match((await three.weft('service', 'ls')).stdout, /\*:8080->9000\/tcp \(host\)/);
  });
});
