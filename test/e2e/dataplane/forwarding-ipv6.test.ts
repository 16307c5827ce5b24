import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../lab/process.ts';
import { allOk, stepsOfSweep } from './checks.ts';
import { Host } from './host.ts';
import { addClient, CLIENTS6, gatePort6, meshState } from './mesh.ts';
import { wanted } from './wanted.ts';

const FORWARDING = 'net.ipv6.conf.all.forwarding';
const state = (ipv6: boolean) => meshState('a', { ipv6, here: { a: [], b: [] }, ports: [gatePort6('tcp', [])] });
const sysctl = async (host: Host, name: string): Promise<string> => (await host.run('sysctl', '-n', name)).trim();
const defaultRoute = (host: Host): Promise<string> => host.run('ip', '-6', 'route', 'show', 'default');

/** A router, behind r0, that says again and again for how many seconds it is one (RFC 4861, section 4.2). */
const advertise = (host: Host, lifetime: number): Promise<number> =>
  host.start(
    `
    const raw = require('raw-socket');
    const [ICMPV6, IPPROTO_IPV6, IPV6_MULTICAST_HOPS] = [58, 41, 18];
    const socket = raw.createSocket({ protocol: ICMPV6, addressFamily: raw.AddressFamily.IPv6 });
    socket.setOption(IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 255);
    const packet = Buffer.alloc(16);
    packet[0] = 134;
    packet[4] = 64;
    packet.writeUInt16BE(${lifetime}, 6);
    setInterval(() => socket.send(packet, 0, packet.length, 'ff02::1', () => undefined), 20);
    process.send('ready');
    `,
    'router',
  );

async function startHost(): Promise<Host> {
  const host = await Host.start();
  await host.run('ip', 'address', 'add', '10.99.0.1/32', 'dev', 'lo');
  for (const netns of ['router', 'other']) {
    const name = `${netns.slice(0, 1)}0`;
    await host.run('ip', 'netns', 'add', netns);
    await host.run('ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns);
    await host.run('ip', 'link', 'set', name, 'up');
    await host.run('ip', '-n', netns, 'link', 'set', 'eth0', 'up');
  }
  await host.run('ip', 'address', 'add', '2001:db8:c::1/64', 'dev', 'o0', 'nodad');
  await host.run('ip', '-n', 'other', 'address', 'add', '2001:db8:c::2/64', 'dev', 'eth0', 'nodad');
  await host.run('ip', '-n', 'other', 'route', 'add', 'default', 'via', '2001:db8:c::1');
  await addClient(host, 'a');
  return host;
}

test('a host that begins to forward IPv6 keeps the routes that routers told it, and is no router', async (t) => {
  await using host = await startHost();
  let router = await advertise(host, 1800);
  const learned = await eventually('a route', async () => (await defaultRoute(host)).trim() || undefined);
  assert.match(learned, /proto ra/);
  await host.end(router);

  await t.test('nothing of that where it was not asked for', async () => {
    await host.set(state(false));
    await allOk(host);
    assert.equal(await sysctl(host, FORWARDING), '0');
    for (const name of ['r0', 'default']) assert.equal(await sysctl(host, `net.ipv6.conf.${name}.accept_ra`), '1');
  });
  await t.test('the route stays, and routers are heeded as before', async () => {
    await host.set(state(true));
    await allOk(host);
    assert.equal(await sysctl(host, FORWARDING), '1');
    assert.match(await defaultRoute(host), /proto ra/);
    router = await advertise(host, 0);
    await eventually('the route to go', async () => (await defaultRoute(host)).trim() === '');
    await host.end(router);
    router = await advertise(host, 1800);
    await eventually('a route', async () => /proto ra/.test(await defaultRoute(host)));
    assert.equal(await stepsOfSweep(host), 0);
  });
  await t.test('it passes nothing on between its networks', async () => {
    await eventually('the host itself to answer', () => host.pings('client', '2001:db8:a::1'));
    assert.equal(await host.pings('client', '2001:db8:c::2'), false);
    assert.equal(await host.pings('other', CLIENTS6.a), false);
  });
  await t.test('what is shown of it is what a person could run', async () => {
    const { commands } = await host.preview(state(false));
    assert.ok(commands.includes(`sysctl -w ${FORWARDING}=0`), commands.join('\n'));
    assert.ok(commands.includes('sysctl -ew net/ipv6/conf/r0/accept_ra=1'), commands.join('\n'));
  });
  await t.test('a clean-up that knows of nothing puts all of it back', async () => {
    await host.set(state(true));
    await host.cleanUp();
    assert.equal(await sysctl(host, FORWARDING), '0');
    for (const name of ['r0', 'default']) assert.equal(await sysctl(host, `net.ipv6.conf.${name}.accept_ra`), '1');
    assert.match(await defaultRoute(host), /proto ra/);
    assert.doesNotMatch(await host.run('ip', 'link'), /: wg/);
    await host.end(router);
  });
});

test('a host that forwards IPv6 already goes on with it', async () => {
  await using host = await startHost();
  await host.run('sysctl', '-w', `${FORWARDING}=1`);
  await host.set(state(true));
  await allOk(host);
  await eventually('the other network to answer', () => host.pings('client', '2001:db8:c::2'));
  assert.equal(await sysctl(host, 'net.ipv6.conf.r0.accept_ra'), '1');
  await host.set(wanted({}));
  await host.cleanUp();
  assert.equal(await sysctl(host, FORWARDING), '1');
});
