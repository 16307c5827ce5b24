import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Host, LabSandbox } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { serveIn, tally } from '../lab/who.ts';

describe('the routing mesh', { timeout: 200_000 }, () => {
  const stage = useLab({ hosts: 3, cluster: { managers: 3 } });
  const host = (index: number): Host => stage.lab.host(index);
  const boxes: LabSandbox[] = [];
  /** Names of those that answered, each with how often. */
  const names = (answers: Record<string, number>): Record<string, number> => {
    const found: Record<string, number> = {};
    for (const [answer, count] of Object.entries(answers)) {
      const name = answer.split(' ')[0] ?? '';
      found[name] = (found[name] ?? 0) + count;
    }
    return found;
  };
  before(async () => {
    await host(1).weft('network', 'create', 'frontend');
    await settled(stage.lab);
    for (const [index, name] of [
      [1, 'web-1'],
      [2, 'web-2'],
    ] as const) {
      const box = await host(index).createSandbox({ Name: name, Networks: ['frontend'], Aliases: ['web'] });
      await serveIn(box, 9000);
      boxes.push(box);
    }
    await settled(stage.lab);
  });

  it('every node answers at a published port, also one without an endpoint, and spreads connections evenly', async () => {
    const published = await host(3).weft('publish', '--network', 'frontend', 'web', '8080:9000', '8080:9000/udp');
    assert.equal(published.exitCode, 0, published.stderr);
    await settled(stage.lab);
    for (const to of [1, 2, 3]) {
      await eventually(`host ${to} to answer`, async () => {
        const found = names(await tally(host(3), host(to).address, 8080, 20));
        return (found['web-1'] ?? 0) + (found['web-2'] ?? 0) === 20;
      });
    }
    const found = names(await tally(host(3), host(1).address, 8080, 3_000));
    assert.deepEqual(Object.keys(found).sort(), ['web-1', 'web-2']);
    for (const count of Object.values(found)) assert.ok(Math.abs(count - 1_500) <= 150, JSON.stringify(found));
  });

  it("the endpoints see the client's address, through each node, over TCP and UDP", async () => {
    for (const protocol of ['tcp', 'udp'] as const) {
      for (const [from, to] of [
        [3, 1],
        [3, 2],
        [1, 3],
        [2, 1],
      ] as const) {
        const answers = await tally(host(from), host(to).address, 8080, 40, protocol);
        assert.deepEqual(
          Object.keys(answers).sort(),
          ['web-1', 'web-2'].map((name) => `${name} ${host(from).address}`),
          `${protocol} from host ${from} to host ${to}`,
        );
      }
    }
  });

  it('the host itself reaches it, also at its loopback', async () => {
    for (const address of ['127.0.0.1', host(3).address]) {
      assert.deepEqual(Object.keys(names(await tally(host(3), address, 8080, 20))).sort(), ['web-1', 'web-2'], address);
    }
  });
});
