import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Status } from '../../agent/api/schema.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { Held, serveIn, tally } from '../lab/who.ts';

const TABLE = 'inet weft_user';
const HELD = 8;

describe('published ports and the firewall of a host', { timeout: 120_000 }, () => {
  const stage = useLab({ hosts: 3 });
  const host = (index: number): Host => stage.lab.host(index);
  /** What a client gets of host 1, which the firewalls here are of; the endpoint is on host 2. */
  const asked = (by: number, port: number, count = 3): Promise<Record<string, number>> =>
    tally(host(by), host(1).address, port, count);
  const answer = (by: number, count = 3): Record<string, number> => ({ [`web ${host(by).address}`]: count });
  const answers = (by: number, port: number): Promise<unknown> =>
    eventually(`host 1 to answer host ${by} at ${port}`, async () => {
      const found = await asked(by, port, 1);
      if (found[`web ${host(by).address}`] === 1) return true;
      throw new Error(JSON.stringify(found));
    });
  const nft = (...script: string[]): Promise<unknown> => host(1).exec('nft', script);
  const warnings = async (): Promise<string> => (await host(1).weftJson<Status>('status')).Warnings.join('\n');
  const publish = async (...ports: string[]): Promise<void> => {
    const { exitCode, stderr } = await host(1).weft('publish', 'web', ...ports);
    assert.equal(exitCode, 0, stderr);
  };

  before(async () => {
    await host(1).weft('network', 'create', 'frontend');
    await settled(stage.lab);
    await serveIn(await host(2).createSandbox({ Name: 'web', Networks: ['frontend'] }), 9000);
    await settled(stage.lab);
    await publish('8080:9000', '8081:9000');
    for (const port of [8080, 8081]) await answers(3, port);
  });

  it("a rule of the owner's for one client and one port holds, whatever becomes of agents and services", async () => {
    const match = `ip saddr ${host(3).address} meta l4proto tcp ct original proto-dst 8080`;
    await nft('add', 'rule', ...TABLE.split(' '), 'forward', `${match} drop`);
    const holds = async (): Promise<void> => {
      assert.deepEqual(await asked(3, 8080), { 'no answer': 3 });
      assert.deepEqual(await asked(3, 8081), answer(3));
      assert.deepEqual(await asked(2, 8080), answer(2));
    };
    await holds();
    await host(1).killAgent();
    await host(1).startAgent();
    await settled(stage.lab);
    await publish('8082:9000');
    await answers(3, 8082);
    await holds();
    assert.equal((await host(1).weft('unpublish', 'web', '8082')).exitCode, 0);
    await settled(stage.lab);
    await holds();
    const { Items: drift } = await host(1).weftJson<{ Items: unknown[] }>('drift');
    assert.deepEqual(drift, []);
  });

  it('after nft flush ruleset ports answer again, connections go on, and the table of the owner is back, empty', async () => {
    const held = await Promise.all(Array.from({ length: HELD }, () => Held.open(host(2), host(1).address, 8080)));
    await nft('flush', 'ruleset');
    await answers(3, 8080);
    for (const each of held) await each.goesOn();
    await Promise.all(held.map((each) => each.end()));
    const listed = (await host(1).exec('nft', ['list', 'table', ...TABLE.split(' ')])).stdout;
    assert.match(listed, /hook forward/);
    assert.doesNotMatch(listed, /drop/);
  });

  it('a host that drops what it does not accept has them with one rule more, as its status says', async () => {
    await nft(`table inet theirs {
      chain input { type filter hook input priority 0; policy drop; iifname lo accept; ct state established,related accept
        udp dport 4789 accept; tcp dport { 7946, 7947 } accept; meta l4proto icmp accept
      }
      chain forward { type filter hook forward priority 0; policy drop; }
    }`);
    assert.deepEqual(await asked(3, 8080, 2), { 'no answer': 2 });
    await eventually('the status to say so', async () => (await warnings()).includes('inet theirs forward'));
    const rules = [
      ...(await warnings()).matchAll(/nft (insert rule inet theirs forward [io]ifname docker_gwbridge accept)/g),
    ];
    assert.equal(rules.length, 2, await warnings());
    for (const [, rule = ''] of rules) await nft(rule);
    assert.deepEqual(await asked(3, 8080), answer(3));
    await nft('delete', 'table', 'inet', 'theirs');
  });

  it('neither does one where iptables drops what is forwarded, as Docker has it', async () => {
    const iptables = (...args: string[]): Promise<unknown> => host(1).exec('iptables-nft', args);
    await iptables('-P', 'FORWARD', 'DROP');
    await iptables('-N', 'DOCKER-USER');
    await iptables('-A', 'DOCKER-USER', '-j', 'RETURN');
    await iptables('-A', 'FORWARD', '-j', 'DOCKER-USER');
    assert.deepEqual(await asked(3, 8080, 2), { 'no answer': 2 });
    await eventually('the status to say so', async () => (await warnings()).includes('ip filter FORWARD'));
    assert.match(await warnings(), /where Docker runs: DOCKER-USER instead of FORWARD/);
    const rules = [...(await warnings()).matchAll(/iptables -I FORWARD (-[io] docker_gwbridge -j ACCEPT)/g)];
    assert.equal(rules.length, 2, await warnings());
    for (const [, rule = ''] of rules) await iptables('-I', 'DOCKER-USER', ...rule.split(' '));
    assert.deepEqual(await asked(3, 8080), answer(3));
  });
});
