import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Ca, MeshKey } from '../../agent/api/schema.ts';
import { join, joinToken } from '../lab/cluster.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

const peersOf = async (host: Host): Promise<string[]> =>
  (await host.api.call('status')).Peers.map(({ Hostname, State, Since }) => `${Hostname} ${State} ${Since}`).sort();

describe('certificates that end soon', () => {
  const stage = useLab({ hosts: 3, cluster: { initArgs: ['--cert-expiry', '20s'] } });

  it('are renewed, on managers and workers, and no connection is lost over it', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    const ends = async (host: Host): Promise<number> =>
      Date.parse((await host.api.call('status')).Certificate?.NotAfter ?? '');
    const before = new Map([
      [one, await ends(one)],
      [two, await ends(two)],
    ]);
    const peers = await peersOf(one);
    for (const [host, first] of before) {
      // Twice: the renewed one is renewed in turn, and its first owner's life is over by then.
      await eventually(
        `${host.name} to have renewed its certificate twice`,
        async () => {
          assert.ok((await ends(host)) > first + 18_000);
          return true;
        },
        { timeoutMs: 120_000 },
      );
    }
    assert.deepEqual(await peersOf(one), peers, 'the same connections');
    const { Certificate: own, Warnings: warnings } = await two.api.call('status');
    assert.equal(own?.Failures, 0, own?.LastError);
    assert.deepEqual(warnings, []);
    await two.killAgent();
    await two.startAgent();
    await settled(stage.lab);
  });

  it('let a node that was off for longer come back by itself', async () => {
    const three = stage.lab.host(3);
    const { Certificate: own } = await three.api.call('status');
    await three.killAgent();
    await eventually(
      'its certificate to end',
      async () => {
        assert.ok(Date.now() > Date.parse(own?.NotAfter ?? ''));
        return true;
      },
      { timeoutMs: 60_000 },
    );
    await three.startAgent();
    await eventually(
      'host3 to be connected again',
      async () => {
        const { Peers: peers } = await three.api.call('status');
        assert.ok(
          peers.every(({ State: state }) => state === 'connected'),
          JSON.stringify(peers),
        );
        return true;
      },
      { timeoutMs: 60_000 },
    );
    await settled(stage.lab);
  });
});

describe('changing the root', () => {
  const stage = useLab({ hosts: 5, cluster: false });

  it('goes through all nodes while traffic flows, and newcomers join by the new token', async () => {
    const { lab } = stage;
    await lab.startAgents();
    const [one, two, three, four, five] = [lab.host(1), lab.host(2), lab.host(3), lab.host(4), lab.host(5)];
    const init = await one.weftJson<{ JoinAddr: string; JoinTokens: { Worker: string; Manager: string } }>(
      'init',
      '--advertise-addr',
      one.address,
    );
    await join(two, init.JoinTokens.Manager, init.JoinAddr);
    await join(three, init.JoinTokens.Worker, init.JoinAddr);
    await join(five, init.JoinTokens.Worker, init.JoinAddr);
    await one.weftJson('network', 'create', 'frontend');
    await settled(lab, [one, two, three, five]);
    const from = await one.createSandbox({ Name: 'from', Networks: ['frontend'] });
    const to = await three.createSandbox({ Name: 'to', Networks: ['frontend'] });
    await settled(lab, [one, two, three, five]);
    const peers = await peersOf(three);
    const before = await one.api.call('ca');

    const ping = await from.backgroundPing(to.address('frontend'), { count: 500, intervalMs: 10 });
    const reply = await one.weftJson<Ca>('ca', 'rotate');
    assert.notEqual(reply.RootDigest, before.RootDigest);
    assert.deepEqual([reply.Rotating, reply.Missing], [false, []]);
    for (const host of [two, three, five]) {
      await eventually(`${host.name} to have dropped the old root`, async () => {
        const seen = await host.api.call('ca');
        assert.deepEqual([seen.RootDigest, seen.Rotating], [reply.RootDigest, false]);
        return true;
      });
    }
    const { sent, received } = await ping.finished(20_000);
    assert.equal(received, sent, 'traffic went on');
    assert.deepEqual(await peersOf(three), peers, 'the same connections');

    const old = await four.weft('join', '--token', init.JoinTokens.Worker, init.JoinAddr);
    assert.notEqual(old.exitCode, 0);
    assert.match(old.stderr, /root|authority/);
    const { Token: token, JoinAddr: address } = await joinToken(two, 'worker');
    await join(four, token, address);
    await settled(lab);
  });

  it('is followed by a node that was off, also by one that comes after it was finished', async () => {
    const { lab } = stage;
    const [one, three] = [lab.host(1), lab.host(3)];
    await three.killAgent();
    const late = await one.weft('ca', 'rotate', '--timeout', '10');
    assert.equal(late.exitCode, 4);
    assert.match(late.stderr, /1 of 5 nodes lack the new root.*host3/);
    const finished = await one.weftJson<Ca>('ca', 'rotate', '--finish');
    assert.equal(finished.Rotating, false);
    await one.weftJson<MeshKey>('mesh-key', 'rotate', '--detach');
    await one.weftJson<MeshKey>('mesh-key', 'rotate', '--finish');
    await three.startAgent();
    await eventually(
      'host3 to have the new root',
      async () => {
        assert.equal((await three.api.call('ca')).RootDigest, finished.RootDigest);
        const { Peers: peers } = await three.api.call('status');
        assert.ok(
          peers.every(({ State: state }) => state === 'connected'),
          JSON.stringify(peers),
        );
        return true;
      },
      { timeoutMs: 60_000 },
    );
    await settled(lab);
  });
});

describe('changing the key of the mesh', () => {
  const stage = useLab({ hosts: 3, cluster: { managers: 2 } });

  it('follows by itself when a node is removed', async () => {
    const [one, three] = [stage.lab.host(1), stage.lab.host(3)];
    const before = await one.weftJson<MeshKey>('mesh-key');
    assert.equal((await one.weft('node', 'rm', '--force', 'host3')).exitCode, 0);
    await eventually(
      'another key',
      async () => {
        const now = await one.weftJson<MeshKey>('mesh-key');
        assert.notEqual(now.Digest, before.Digest);
        assert.equal(now.Rotating, false);
        return true;
      },
      { timeoutMs: 30_000 },
    );
    await eventually('host3 to know that it was removed', async () => {
      assert.equal((await three.api.call('status')).State, 'inactive');
      return true;
    });
  });

  it('reaches all nodes and drops the old one, without a connection lost', async () => {
    const [one, two] = [stage.lab.host(1), stage.lab.host(2)];
    const before = await one.weftJson<MeshKey>('mesh-key');
    const peers = await peersOf(two);
    const after = await two.weftJson<MeshKey>('mesh-key', 'rotate');
    assert.notEqual(after.Digest, before.Digest);
    assert.deepEqual([after.Rotating, after.Missing], [false, []]);
    assert.deepEqual(await peersOf(two), peers);
    await two.killAgent();
    await two.startAgent();
    await settled(stage.lab, [one, two]);
  });
});
