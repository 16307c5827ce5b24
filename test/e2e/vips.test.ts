import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Service } from '../../agent/api/schema.ts';
import type { Host } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { Held, serveIn, tally } from '../lab/who.ts';

const NAMES = ['db-1', 'db-2', 'db-3', 'db-4'] as const;

/** Addresses of the service, without prefix length. */
async function virtual(host: Host, name: string): Promise<string[]> {
  const [service] = await host.weftJson<Service[]>('service', 'inspect', name);
  return (service?.VirtualIPs ?? []).map(({ Addr }) => Addr.replace(/\/.*/, ''));
}

describe('the virtual address of a service', { timeout: 120_000 }, () => {
  const stage = useLab({ hosts: 2 });

  it('leads connections of sandboxes to endpoints of all hosts by turns, of TCP and UDP, IPv4 and IPv6', async () => {
    const { lab } = stage;
    const [one, two] = [lab.host(1), lab.host(2)];
    await one.weftJson('network', 'create', '--ipv6', 'back');
    await settled(lab);
    const client = await one.createSandbox({ Name: 'client', Networks: ['back'] });
    const far = await two.createSandbox({ Name: 'far', Networks: ['back'] });
    for (const [at, name] of NAMES.entries()) {
      const host = at % 2 === 0 ? one : two;
      await serveIn(await host.createSandbox({ Name: name, Networks: ['back'], Aliases: ['db'] }), 9000);
    }
    await settled(lab);
    await one.weft('publish', '--vip', 'db');
    await settled(lab);
    const addresses = await virtual(two, 'db');
    assert.equal(addresses.length, 2);
    for (const address of addresses) {
      for (const from of [client, far]) {
        const own = address.includes(':') ? from.address6('back') : from.address('back');
        const seen = async () => tally(from, address, 9000, 100);
        await eventually('connections to be led', async () => Object.keys(await seen()).length === 4);
        for (const protocol of ['tcp', 'udp'] as const) {
          const answers = await tally(from, address, 9000, 100, protocol);
          const names = NAMES.map((name) => `${name} ${own}`);
          assert.deepEqual(Object.keys(answers).sort(), names);
          // The last packet of a connection that was forgotten meanwhile takes a turn, too.
          for (const count of Object.values(answers)) assert.ok(Math.abs(count - 25) <= 2, JSON.stringify(answers));
        }
      }
    }
  });

  it('keeps connections that there are when an endpoint goes, and leads no new ones there, also over a restart', async () => {
    const { lab } = stage;
    const [one, two] = [lab.host(1), lab.host(2)];
    const client = await one.sandbox('client');
    const [ip = ''] = await virtual(one, 'db');
    const holding: Held[] = [];
    while (new Set(holding.map(({ by }) => by)).size < 4) holding.push(await Held.open(client, ip, 9000));
    const seen = async (): Promise<string> =>
      Object.keys(await tally(client, ip, 9000, 40))
        .map((answer) => answer.split(' ')[0])
        .sort()
        .join();
    await two.weftJson('sandbox', 'rm', 'db-2');
    await settled(lab);
    await eventually('the others alone to be asked', async () => (await seen()) === 'db-1,db-3,db-4');
    const others = holding.filter(({ by }) => by !== 'db-2');
    for (const held of others) await held.goesOn();
    await one.killAgent();
    await one.startAgent();
    for (const held of others) await held.goesOn();
    assert.equal(await seen(), 'db-1,db-3,db-4');

    await one.weft('node', 'drain', two.name);
    await settled(lab);
    await eventually('those of a drained node not to be asked', async () => (await seen()) === 'db-1,db-3');
    for (const held of others) await held.goesOn();
    await one.weft('node', 'activate', two.name);
    await settled(lab);
    await eventually('all to be asked again', async () => (await seen()) === 'db-1,db-3,db-4');
    for (const held of holding) await held.end();
  });

  it('leaves nothing in sandboxes when it is taken back', async () => {
    const { lab } = stage;
    const one = lab.host(1);
    const client = await one.sandbox('client');
    assert.match((await client.exec('nft', ['list', 'tables'])).stdout, /weft_vip/);
    await one.weft('unpublish', 'db');
    await settled(lab);
    await eventually('nothing to be left', async () => (await client.exec('nft', ['list', 'ruleset'])).stdout === '');
  });
});
