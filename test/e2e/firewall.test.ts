import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import type { Status } from '../../agent/api/schema.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { BRIEF_MS, Held, serveIn, tally } from '../lab/who.ts';

const TABLE = 'inet weft_user';
const HELD = 8;

describe('published ports and the firewall of a host', { timeout: 120_000 }, () => {
  const stage = useLab({ hosts: 3, families: ['IPv4', 'IPv6'], cluster: { initArgs: ['--ipv6'] } });
  const host = (index: number): Host => stage.lab.host(index);
  /** On the underlay, by family. */
  const addresses = (index: number): readonly string[] => host(index).addresses;
  const inBoth = async (
    ask: (family: number) => Promise<Record<string, number>>,
  ): Promise<Record<string, number>[]> => [await ask(0), await ask(1)];
  /** What a client gets of host 1, which the firewalls here are of, over IPv4 and IPv6; the endpoint is on host 2. */
  const asked = (by: number, port: number, count = 3, patienceMs?: number): Promise<Record<string, number>[]> =>
    inBoth((family) => tally(host(by), addresses(1)[family] ?? '', port, count, 'tcp', patienceMs));
  const answer = (by: number, count = 3): Record<string, number>[] =>
    addresses(by).map((address) => ({ [`web ${address}`]: count }));
  const silence = (count = 3): Record<string, number>[] => addresses(1).map(() => ({ 'no answer': count }));
  const answers = (by: number, port: number): Promise<unknown> =>
    eventually(`host 1 to answer host ${by} at ${port}`, async () => {
      const found = JSON.stringify(await asked(by, port, 1));
      if (found === JSON.stringify(answer(by, 1))) return true;
      throw new Error(found);
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
    for (const [family, address] of addresses(3).entries()) {
      const match = `${['ip', 'ip6'][family]} saddr ${address} meta l4proto tcp ct original proto-dst 8080`;
      await nft('add', 'rule', ...TABLE.split(' '), 'forward', `${match} drop`);
    }
    const holds = async (): Promise<void> => {
      assert.deepEqual(await asked(3, 8080, 3, BRIEF_MS), silence());
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
    const held = await Promise.all(
      Array.from({ length: HELD }, (_, at) => Held.open(host(2), addresses(1)[at % 2] ?? '', 8080)),
    );
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
        udp dport 4789 accept; tcp dport 7946 accept; meta l4proto { icmp, ipv6-icmp } accept
      }
      chain forward { type filter hook forward priority 0; policy drop; }
    }`);
    assert.deepEqual(await asked(3, 8080, 2, BRIEF_MS), silence(2));
    await eventually('the status to say so', async () => (await warnings()).includes('inet theirs forward'));
    const rules = [...(await warnings()).matchAll(/nft (insert rule inet theirs forward [io]ifname \S+ accept)/g)];
    assert.equal(rules.length, 4, await warnings());
    for (const [, rule = ''] of rules) await nft(rule);
    assert.deepEqual(await asked(3, 8080), answer(3));
    await nft('delete', 'table', 'inet', 'theirs');
  });

  it('neither does one where iptables drops what is forwarded, as Docker has it', async () => {
    const iptables = (command: string, ...args: string[]): Promise<unknown> => host(1).exec(`${command}-nft`, args);
    for (const command of ['iptables', 'ip6tables']) {
      await iptables(command, '-P', 'FORWARD', 'DROP');
      await iptables(command, '-N', 'DOCKER-USER');
      await iptables(command, '-A', 'DOCKER-USER', '-j', 'RETURN');
      await iptables(command, '-A', 'FORWARD', '-j', 'DOCKER-USER');
    }
    assert.deepEqual(await asked(3, 8080, 2, BRIEF_MS), silence(2));
    await eventually('the status to say so', async () =>
      (await warnings()).includes('ip filter FORWARD, ip6 filter FORWARD'),
    );
    assert.match(await warnings(), /where Docker runs: DOCKER-USER instead of FORWARD/);
    const rules = [...(await warnings()).matchAll(/(ip6?tables) -I FORWARD (-[io] \S+ -j ACCEPT)/g)];
    assert.equal(rules.length, 4, await warnings());
    for (const [, command = '', rule = ''] of rules) await iptables(command, '-I', 'DOCKER-USER', ...rule.split(' '));
    assert.deepEqual(await asked(3, 8080), answer(3));
  });
});
