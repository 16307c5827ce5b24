import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { converged } from '../lab/cluster.ts';
import { diffKernel } from '../lab/kernel.ts';
import { settled, useLab } from '../lab/suite.ts';

const RESTARTS = Number(process.env['RESTARTS'] ?? 6);

describe('an agent that ends', () => {
  const stage = useLab({ hosts: 2 });

  it('by kill -9 interrupts nobody, and finds its kernel as it left it', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    await one.weftJson('network', 'create', 'frontend');
    await settled(stage.lab);
    const from = await one.createSandbox({ Name: 'from', Networks: ['frontend'] });
    const to = await two.createSandbox({ Name: 'to', Networks: ['frontend', 'ingress'] });
    await settled(stage.lab);
    const before = await Promise.all([one.kernel(), two.kernel()]);

    const ping = await from.backgroundPing(to.address('frontend'), { count: 1000, intervalMs: 10 });
    await two.killAgent();
    assert.deepEqual(diffKernel(before[1], await two.kernel()), [], 'the kernel outlives the agent');
    await two.startAgent();
    await one.killAgent();
    await one.startAgent();
    const { sent, received } = await ping.finished(20_000);
    assert.deepEqual({ sent, received }, { sent: 1000, received: 1000 });

    await settled(stage.lab);
    assert.deepEqual(diffKernel(before[0], await one.kernel()), []);
    assert.deepEqual(diffKernel(before[1], await two.kernel()), []);
    assert.equal((await one.api.call('status')).State, 'active');
    const known = (await two.api.call('sandboxList')).map((sandbox) => sandbox.Name).sort();
    assert.deepEqual(known, ['ingress-sbox', 'to']);
  });

  it('by SIGTERM says goodbye with exit code 0, and forwarding stays', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    const [from, to] = [await one.sandbox('from'), await two.sandbox('to')];
    const before = await two.kernel();
    const ping = await from.backgroundPing(to.address('frontend'), { count: 300 });
    assert.equal(await two.stopAgent(), 0);
    await two.startAgent();
    const { sent, received } = await ping.finished(10_000);
    assert.equal(received, sent);
    await settled(stage.lab);
    assert.deepEqual(diffKernel(before, await two.kernel()), []);
  });

  it(`${RESTARTS} times under load interrupts nobody`, async (t) => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    const [from, to] = [await one.sandbox('from'), await two.sandbox('to')];
    const address = to.address('frontend');
    const server = await two.spawn('nsenter', [
      `--net=${to.info.NetnsPath}`,
      '--',
      'iperf3',
      '-s',
      '-1',
      '--forceflush',
    ]);
    await server.says(/Server listening/);
    // As much as leaves the processors enough for all else: what a full queue drops would be no fault of the agents'.
    const load = ['iperf3', '-c', address, '-t', '600', '-b', '200M', '-i', '1', '-f', 'm', '--forceflush'];
    const client = await one.spawn('nsenter', [`--net=${from.info.NetnsPath}`, '--', ...load]);
    await client.says(/sec .*bits\/sec/);
    const ping = await from.backgroundPing(address, { count: 600_000, intervalMs: 1 });
    for (let time = 0; time < RESTARTS; time++) {
      const host = time % 2 === 0 ? two : one;
      if (time % 4 < 2) await host.killAgent();
      else assert.equal(await host.stopAgent(), 0);
      await host.startAgent();
      await converged(host);
    }
    const { received, missing } = await ping.stopAndCount();
    await client.end('SIGINT');
    await server.end('SIGKILL');
    // Lines of whole seconds; the last one is cut short, and what sums all up says how much of it was sent or received.
    const line = /([\d.]+)-([\d.]+) +sec .* ([\d.]+) Mbits\/sec(?!.*(?:sender|receiver))/g;
    const seconds = [...client.text.matchAll(line)]
      .filter(([, start, end]) => Number(end) - Number(start) > 0.5)
      .map(([, , , rate]) => Number(rate));
    t.diagnostic(`${received} answers, ${seconds.length} s of TCP, ${Math.min(...seconds)} Mbit/s at least`);
    assert.deepEqual(missing, []);
    assert.ok(received > 250 * RESTARTS, `${received} answers`);
    assert.ok(seconds.length > RESTARTS / 4, `${seconds.length} s of TCP`);
    assert.ok(
      seconds.every((rate) => rate > 0),
      seconds.join(' '),
    );
  });

  it('and misses what happened meanwhile has caught up when it is back', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    await two.killAgent();
    const late = await one.createSandbox({ Name: 'late', Networks: ['frontend'] });
    await one.api.call('sandboxRemove', { ref: 'from' });
    await two.startAgent();
    await settled(stage.lab);
    const names = (await two.api.call('endpointList', { query: { network: 'frontend' } }))
      .map(({ Name }) => Name)
      .sort();
    assert.deepEqual(names, ['late', 'to']);
    const to = await two.sandbox('to');
    assert.equal((await to.ping(late.address('frontend'))).received, 3);
  });
});
