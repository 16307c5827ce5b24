import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Network, Service } from '../../agent/api/schema.ts';
import type { LabSandbox } from '../lab/host.ts';
import { dig } from '../lab/names.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';
import { refusal } from '../lab/verbs.ts';

/** What a name leads to, in order of the text; the status where there is nothing. */
async function told(from: LabSandbox, ...args: string[]): Promise<string> {
  const { status, data } = await dig(from, ...args);
  return data.length === 0 ? status : [...data].sort().join(' ');
}

const becomes = (from: LabSandbox, args: string[], wanted: string) =>
  eventually(`dig ${args.join(' ')} to say ${wanted}`, async () => (await told(from, ...args)) === wanted);

describe('the name of a service in mode vip', { timeout: 120_000 }, () => {
  const stage = useLab({ hosts: 2 });

  it('leads to one address that stays, over restarts, endpoints and managers, until it is given back', async () => {
    const { lab } = stage;
    const [one, two] = [lab.host(1), lab.host(2)];
    await one.weftJson('network', 'create', '--ipv6', '--subnet', '10.9.7.0/28', '--subnet', 'fd00:9:7::/64', 'back');
    await settled(lab);
    const from = await two.createSandbox({ Name: 'client', Networks: ['back'] });
    const db = await one.createSandbox({ Name: 'db-1', Networks: ['back'], Aliases: ['Db'] });
    await settled(lab);
    await becomes(from, ['db'], db.address('back'));
    const [made] = [await one.weftJson<Service>('publish', '--vip', 'db')];
    assert.equal(made.EndpointSpec.Mode, 'vip');
    const [ip = '', ip6 = ''] = made.VirtualIPs.map(({ Addr }) => Addr.split('/')[0] ?? '');
    assert.match(`${ip} ${ip6}`, /^10\.9\.7\.\d+ fd00:9:7::[0-9a-f]+$/);
    for (const name of ['db', 'DB', 'db.back']) await becomes(from, [name], ip);
    await becomes(from, ['db', 'AAAA'], ip6);
    await becomes(from, ['tasks.db'], db.address('back'));
    await becomes(from, ['db-1'], db.address('back'));
    for (const address of [ip, ip6]) await becomes(from, ['-x', address], 'db.back.');

    // Nobody else's, on whatever host.
    const refused = await refusal(two, 'sandbox', 'create', '--network', 'back', '--ip', ip, 'thief');
    assert.match(refused, /virtual address of service db/);
    const [network] = await one.weftJson<Network[]>('network', 'inspect', 'back');
    assert.match(JSON.stringify(network), /"Used":3\b/i);
    await one.weft('node', 'promote', two.name);
    await settled(lab);
    await one.killAgent();
    await one.startAgent();
    await one.weftJson('sandbox', 'rm', 'db-1');
    await settled(lab);
    await becomes(from, ['db'], ip);
    await becomes(from, ['tasks.db'], 'NXDOMAIN');
    await two.weft('publish', 'db', '8080:9000');
    await two.weft('node', 'demote', one.name);
    await settled(lab);
    const [kept] = await two.weftJson<Service[]>('service', 'inspect', 'db');
    assert.deepEqual(kept?.VirtualIPs, made.VirtualIPs);

    await two.weft('publish', '--endpoint-mode', 'dnsrr', 'db');
    await eventually('the name to lead nowhere', async () => !(await told(from, 'db')).includes(ip));
    assert.match(await refusal(two, 'sandbox', 'create', '--network', 'back', '--ip', ip, 'thief'), /free again in/);
  });
});
