import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { percentile, resultOf, tableOf } from '../../bench/report.ts';
import { changesOf } from '../../bench/statuses.ts';
import { parseEvent, parseLinkEvent, setClock, wallClockMs } from '../../bench/watch.ts';

const main = fileURLToPath(new URL('../../bench/main.ts', import.meta.url));
const figure = { case: '10 hosts', metric: 'p50', value: 42.123456, unit: 'ms', samples: 50 };

describe('a result', () => {
  it('has all fields, those of a peer only where one ran', () => {
    assert.deepEqual(resultOf('b', figure), {
      bench: 'b',
      ...{ case: '10 hosts', metric: 'p50', value: 42.12, unit: 'ms', goal: null, ok: true, samples: 50 },
    });
    const beside = resultOf('b', { ...figure, peer: { name: 'swarm', value: 84.24 } });
    assert.deepEqual([beside.peer, beside.peer_value, beside.ratio], ['swarm', 84.24, 0.5]);
  });
  it('is good or not by its goal, and never without a value', () => {
    assert.equal(resultOf('b', { ...figure, goal: { than: '<', limit: 100 } }).ok, true);
    assert.equal(resultOf('b', { ...figure, goal: { than: '>', limit: 100 } }).ok, false);
    assert.equal(resultOf('b', { ...figure, value: Number.NaN }).ok, false);
  });
  it('is a row of the table', () => {
    const [head, row] = tableOf([resultOf('b', { ...figure, goal: { than: '<', limit: 9 } })]).split('\n');
    assert.match(head ?? '', /^BENCH +CASE/);
    assert.match(row ?? '', /^b +10 hosts +p50 +42\.12 ms +< 9 +NO +50 +-$/);
  });
});

describe('percentile', () => {
  it('is the nearest rank', () => {
    const samples = [5, 1, 4, 2, 3];
    assert.deepEqual([percentile(samples, 0.5), percentile(samples, 0.99), percentile(samples, 0)], [3, 5, 1]);
    assert.ok(Number.isNaN(percentile([], 0.5)));
  });
});

describe('changes of status in a log', () => {
  const line = (time: string, fields: object): string => `${JSON.stringify({ level: 30, time, ...fields })}\n`;
  const msg = 'a node is taken for alive, or not';
  it('are those from a time on, and nothing else', () => {
    const log =
      line('2026-11-24T04:00:00.000Z', { peer: 'a', status: 'alive', why: '', msg }) +
      line('2026-11-24T04:00:01.500Z', { peer: 'b', status: 'suspended', why: 'host down', msg }) +
      line('2026-11-24T04:00:02.000Z', { msg: 'something else' });
    const sinceMs = Date.parse('2026-11-24T04:00:01Z');
    assert.deepEqual(changesOf(log, sinceMs), [
      { peer: 'b', status: 'suspended', why: 'host down', atMs: sinceMs + 500 },
    ]);
  });
});

describe('kernel events', () => {
  const at = Date.parse('2026-11-23T23:52:42Z');
  it('are read with their microseconds', () => {
    const neighbour = parseEvent(
      '[2026-11-23T23:52:42.943001] 10.0.0.5 dev vx0 lladdr 02:42:0a:00:00:05 PERMANENT proto 201 ',
    );
    assert.equal(neighbour?.address, '10.0.0.5');
    assert.ok(Math.abs((neighbour?.atMs ?? 0) - (at + 943.001)) < 0.001);
    const fdb = parseEvent(
      '[2026-11-23T23:52:43.248468] Deleted 127.0.0.2 dev vx0 lladdr 02:42:0a:00:00:05 NOARP PERMANENT ',
    );
    assert.deepEqual([fdb?.address, fdb?.mac, fdb?.deleted], ['127.0.0.2', '02:42:0a:00:00:05', true]);
  });
  it('that are not entries of ours are passed over', () => {
    assert.equal(parseEvent('[2026-11-23T23:52:43.246842] 10.0.0.5 dev vx0 FAILED proto 201 '), undefined);
    assert.equal(
      parseEvent('[2026-11-23T23:52:43.246842] 10.0.0.5 dev vx0 lladdr 02:42:0a:00:00:05 REACHABLE'),
      undefined,
    );
  });
  it('of links are read with what the link is known by; an end is none', () => {
    const rest =
      'vb@va: <BROADCAST,M-DOWN> mtu 1500 state DOWN group default \\    link/ether 02:00:00:00:00:09 brd ff';
    const link = parseLinkEvent(`[2026-11-23T23:52:42.000250] 12: ${rest}`);
    assert.deepEqual([link?.index, link?.mac], [12, '02:00:00:00:00:09']);
    assert.ok(Math.abs((link?.atMs ?? 0) - (at + 0.25)) < 0.001);
    assert.equal(parseLinkEvent(`[2026-11-23T23:52:42.000250] Deleted 12: ${rest}`), undefined);
  });
  it('have the clock of the test', () => {
    setClock();
    assert.ok(Math.abs(wallClockMs() - Date.now()) < 2);
  });
});

describe('the bench command', () => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ['--import', 'tsx', main, ...args], { encoding: 'utf8' });
  it('lists what there is', () => {
    const { status, stdout } = run('--list');
    assert.equal(status, 0);
    assert.match(stdout, /^propagation +from an endpoint/m);
  });
  it('refuses what it does not know', () => {
    for (const [word, why] of [
      ['nonsense', /no benchmark nonsense/],
      ['--hots=3', /no option --hots/],
      ['--hosts=x', /want whole numbers/],
    ] as const) {
      const { status, stderr } = run(word);
      assert.equal(status, 2);
      assert.match(stderr, why);
    }
  });
});
