import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NodeId } from '../../controlplane/ids.ts';
import { simulateCrypto } from './crypto.ts';
import { Host } from './host.ts';
import { identityOf } from './identities.ts';
import { noFaults, SimNetwork } from './network.ts';
import { Prng } from './prng.ts';
import { simulateTimeouts, VirtualTime } from './time.ts';
import { Trace } from './trace.ts';

// How soon a loss is known everywhere, in virtual time: the bounds hold for every seed that is tried.
const agentKilledMs = 500;
const hostLostMs = 3_000;
const seeds = ['1', '2', '3', '4'];

interface Ground {
  readonly time: VirtualTime;
  readonly network: SimNetwork;
  readonly hosts: readonly Host[];
}

/** Ten hosts with a running member each, all connected; no faults but those of the test. */
async function withCluster(seed: string, size: number, work: (ground: Ground) => Promise<void>): Promise<void> {
  const prng = new Prng(seed);
  const time = new VirtualTime();
  const restores = [simulateCrypto(prng.fork('random bytes')), simulateTimeouts(time)];
  const network = new SimNetwork(time, prng.fork('network'), new Trace(time, null));
  network.faults = { ...noFaults, maxDelayMs: 5 };
  const hosts: Host[] = [];
  try {
    for (let index = 0; index < size; index += 1) {
      const identity = await identityOf(index, index === 0 ? 'manager' : 'worker');
      hosts.push(
        new Host({
          name: `host${index + 1}`,
          identity,
          peers: () =>
            new Map([...hosts.slice(0, index)].map(({ nodeId }, at) => [nodeId, [`192.0.2.${at + 1}:7946`]])),
          network,
          prng: prng.fork(`host ${index}`),
          diskSpeed: { usualMs: 1, stallChance: 0, stallMs: 0 },
          skewMs: 0,
          fullMeshUpTo: undefined,
          onRemoved: () => {},
          onError: (host, message, error) => {
            throw new Error(`${host.name}: ${message}`, { cause: error });
          },
        }),
      );
    }
    for (const host of hosts) {
      const started = host.start(() => {});
      await time.run(200);
      await started;
    }
    await time.run(20_000);
    await work({ time, network, hosts });
  } finally {
    for (const host of hosts) host.crash(true);
    for (const restore of restores) restore();
  }
}

/** Virtual time until every other running host has that status for the one; fails after the limit. */
async function until({ time, hosts }: Ground, of: Host, status: string, limitMs: number): Promise<number> {
  const startedMs = time.now();
  const others = hosts.filter((host) => host !== of && host.cluster !== null);
  const states = (): string[] => others.map(({ cluster }) => cluster?.liveness.stateOf(of.nodeId).status ?? 'gone');
  while (!states().every((each) => each === status)) {
    assert.ok(time.now() - startedMs <= limitMs, `after ${limitMs} ms: ${states().join()}`);
    await time.run(10);
  }
  return time.now() - startedMs;
}

const idsOf = (hosts: readonly Host[]): NodeId[] => hosts.map(({ nodeId }) => nodeId);

test('a killed agent, a lost host and a cut are known everywhere within bounds, and so is the return', async (t) => {
  for (const seed of seeds) {
    await withCluster(seed, 10, async (ground) => {
      const { hosts, network, time } = ground;
      const [, killed, lost, cut] = hosts;
      assert.ok(killed && lost && cut);
      killed.crash(false);
      const killedMs = await until(ground, killed, 'suspended', agentKilledMs);
      for (const { cluster } of hosts) {
        if (cluster) assert.equal(cluster.liveness.stateOf(killed.nodeId).why, 'agent down');
      }
      lost.crash(true);
      const lostMs = await until(ground, lost, 'suspended', hostLostMs);
      const others = hosts.filter((host) => host !== cut);
      network.block(idsOf([cut]), idsOf(others));
      network.block(idsOf(others), idsOf([cut]));
      const cutMs = await until(ground, cut, 'suspended', hostLostMs);
      network.heal();
      await until(ground, cut, 'alive', 5_000);
      for (const host of [killed, lost]) {
        const started = host.start(() => {});
        await time.run(100);
        await started;
        await until(ground, host, 'alive', 5_000);
      }
      t.diagnostic(`seed ${seed}: agent killed ${killedMs} ms, host lost ${lostMs} ms, cut off ${cutMs} ms`);
    });
  }
});

test('links that lose a third of gossip and delay by up to 5 s get hardly anybody suspended, and nobody for long', async (t) => {
  let suspensions = 0;
  const manySeeds = Array.from({ length: 12 }, (_, i) => String(i + 1));
  for (const seed of manySeeds) {
    await withCluster(seed, 6, async ({ hosts, network, time }) => {
      const sinceMs = new Map<string, number>();
      for (const { name, cluster } of hosts) {
        cluster?.liveness.watch((peer) => {
          const pair = `${name}: ${peer}`;
          const before = sinceMs.get(pair);
          if (cluster.liveness.isSuspended(peer)) sinceMs.set(pair, before ?? time.now());
          else if (before !== undefined) {
            sinceMs.delete(pair);
            suspensions += 1;
            assert.ok(time.now() - before < 10_000, `${pair} for ${time.now() - before} ms`);
          }
        });
      }
      network.faults = { ...noFaults, maxDelayMs: 500, spikeChance: 0.05, spikeMs: 5_000, loss: 0.3 };
      await time.run(60_000);
      network.faults = { ...noFaults };
      await time.run(20_000);
      assert.deepEqual([...sinceMs.keys()], []);
    });
  }
  t.diagnostic(`${suspensions} of ${manySeeds.length * 30} pairs in a minute`);
  // By chance each of the ways to look is held up at once: of 360 pairs of nodes in a minute, so many at most.
  assert.ok(suspensions <= 12, `${suspensions} suspensions`);
});

test('one node that cannot reach another, which the rest do, does not get it suspended', async () => {
  await withCluster('1', 6, async ({ hosts, network, time }) => {
    const [, , accuser, accused] = hosts;
    assert.ok(accuser && accused);
    network.block([accuser.nodeId], [accused.nodeId]);
    network.block([accused.nodeId], [accuser.nodeId]);
    for (let second = 0; second < 30; second += 1) {
      await time.run(1_000);
      for (const { cluster } of hosts) assert.equal(cluster?.liveness.isSuspended(accused.nodeId), false);
    }
  });
});
