import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Network, Node, Status } from '../../agent/api/schema.ts';
import type { Host, LabSandbox } from '../lab/host.ts';
import type { Inside } from '../lab/inside.ts';
import { eventually, within } from '../lab/process.ts';
import { noWarnings, settled, useLab } from '../lab/suite.ts';

const TCP = fileURLToPath(new URL('../lab/tools/tcp.mjs', import.meta.url));
const patient = { timeoutMs: 60_000 };
const agent = { config: { 'mtu-probe-interval': 0.5, 'log-level': 'debug' } };

/** MTUs of all that belongs to the network on a host: bridge, VXLAN device, both ends of each veth. */
async function mtusOf(host: Host, network: string, sandboxes: readonly LabSandbox[]): Promise<number[]> {
  const { VNI: vni } = await host.api.call('networkInspect', { ref: network });
  const read = async (netns: string, ...of: string[]): Promise<number[]> => {
    const { stdout } = await host.execIn(netns, 'ip', ['-j', 'link', 'show', ...of]);
    return (JSON.parse(stdout) as { mtu: number }[]).map(({ mtu }) => mtu);
  };
  const all = [await read('/run/netns/weft', `wb${vni}`), await read('/run/netns/weft', 'master', `wb${vni}`)];
  for (const { info } of sandboxes.filter((sandbox) => sandbox.host === host)) {
    const leg = info.Networks.find(({ Network: name }) => name === network);
    if (leg !== undefined) all.push(await read(info.NetnsPath, leg.Interface));
  }
  return all.flat();
}

/** Waits until the network has that MTU on all hosts, in the tables and on every device. */
async function has(hosts: readonly Host[], network: string, mtu: number, sandboxes: readonly LabSandbox[] = []) {
  for (const host of hosts) {
    const check = async (): Promise<Network> => {
      const reply = await host.api.call('networkInspect', { ref: network });
      const devices = await mtusOf(host, network, sandboxes);
      if (reply.MTU === mtu && devices.every((each) => each === mtu)) return reply;
      throw new Error(`${reply.MTU} (${reply.MTUWhy}), devices ${devices.join()}`);
    };
    await eventually(`${network} to have MTU ${mtu} on ${host.name}`, check, patient);
  }
}

async function pathSeen(from: Host, to: Host): Promise<Node['PathMTU']> {
  const node = (await from.api.call('nodeList')).find(({ Hostname }) => Hostname === to.name);
  return node?.PathMTU ?? null;
}

/** Waits until the path is known to take that much, and how. */
async function pathIs(from: Host, to: Host, bytes: number, by = /icmp|udp/): Promise<void> {
  const check = async (): Promise<true> => {
    const path = await pathSeen(from, to);
    if (path?.Bytes === bytes && by.test(path.By)) return true;
    throw new Error(JSON.stringify(path));
  };
  await eventually(`the path from ${from.name} to ${to.name} to take ${bytes}`, check, patient);
}

async function warned(host: Host, text: RegExp): Promise<void> {
  const check = async (): Promise<true> => {
    const { Warnings: warnings }: Status = await host.api.call('status');
    if (warnings.some((line) => text.test(line))) return true;
    throw new Error(warnings.join('\n') || 'no warning');
  };
  await eventually(`${host.name} to warn of ${text}`, check, patient);
}

async function serve(sandbox: LabSandbox): Promise<Inside> {
  const args = [`--net=${sandbox.info.NetnsPath}`, '--', process.execPath, TCP, 'serve', '5201'];
  const server = await sandbox.host.spawn('nsenter', args);
  await server.says(/^listening$/m);
  return server;
}

/** A transfer that goes on under what happens to the path. */
async function flow(from: LabSandbox, to: LabSandbox, network: string) {
  const server = await serve(to);
  const args = [`--net=${from.info.NetnsPath}`, '--', process.execPath, TCP, 'flow', to.address(network), '5201'];
  const sender = await from.host.spawn('nsenter', args);
  const sent = (): number => Number(sender.text.trim().split('\n').at(-1) ?? 0);
  return {
    /** Waits until so many more bytes have gone. */
    more: async (bytes = 4_000_000): Promise<void> => {
      const least = sent() + bytes;
      await eventually(`${least} bytes to be sent`, async () => sent() >= least || undefined, patient);
    },
    /** Ends it, and says whether all has arrived. */
    end: async (): Promise<void> => {
      sender.signal('SIGTERM');
      await within(sender.closed, 60_000, 'the end of a transfer');
      await server.end('SIGKILL');
      assert.match(sender.text, /"ok":true/, sender.text.slice(-500));
    },
  };
}

/** Bulk TCP and packets of exactly the MTU between two sandboxes. */
async function carries(from: LabSandbox, to: LabSandbox, network: string, mtu: number): Promise<void> {
  const address = to.address(network);
  const whole = await from.exec('ping', ['-M', 'do', '-s', String(mtu - 28), '-c', '2', '-W', '2', address], {
    check: false,
  });
  assert.match(whole.stdout, /[12] received/, `a packet of ${mtu} bytes: ${whole.stdout}`);
  const server = await serve(to);
  try {
    const sent = await from.exec(process.execPath, [TCP, 'send', address, '5201', '4000000'], { check: false });
    assert.match(sent.stdout, /"ok":true/, `${sent.stdout}${sent.stderr}`);
  } finally {
    await server.end('SIGKILL');
  }
}

/** Makes hosts send packets of the size that a wire would see: between veths they travel as one of up to 64 KB. */
async function segment(hosts: readonly Host[]): Promise<void> {
  for (const host of hosts) await host.exec('ip', ['link', 'set', 'eth0', 'gso_max_segs', '1']);
}

/** Drops, without a word, what is larger than so many bytes on its way to or from a host; null ends it. */
async function blackHole(underlay: Host['holder'], host: Host, bytes: number | null): Promise<void> {
  // That of IPv6 does not count its header.
  const large = bytes === null ? [] : [`ip ip length > ${bytes}`, `ip6 ip6 length > ${bytes - 40}`];
  const rules = ['iifname', 'oifname'].flatMap((side) =>
    large.map((match) => `${side} "${host.port}" ether type ${match} drop`),
  );
  const chain = ['chain large {', 'type filter hook forward priority 0; policy accept;', ...rules, '}'];
  const table = bytes === null ? [] : ['table bridge hole {', ...chain, '}'];
  const input = `${['table bridge hole', 'delete table bridge hole', ...table].join('\n')}\n`;
  await underlay.exec('nft', ['-f', '-'], { input });
}

/** What a host's firewall drops of what comes in; nothing ends it. */
async function filter(host: Host, ...rules: readonly string[]): Promise<void> {
  const chain = ['chain input {', 'type filter hook input priority 0; policy accept;', ...rules, '}'];
  const table = rules.length === 0 ? [] : ['table inet firewall {', ...chain, '}'];
  const input = `${['table inet firewall', 'delete table inet firewall', ...table].join('\n')}\n`;
  await host.exec('nft', ['-f', '-'], { input });
}

const setMtu = (host: Host, mtu: number): Promise<unknown> =>
  host.exec('ip', ['link', 'set', 'eth0', 'mtu', String(mtu)]);

describe('MTU', () => {
  const stage = useLab({ hosts: 3, cluster: { agent } });
  const hosts = (): readonly [Host, Host, Host] => [stage.lab.host(1), stage.lab.host(2), stage.lab.host(3)];
  const sandboxes: LabSandbox[] = [];
  const ends = (): [LabSandbox, LabSandbox] => [sandboxes[0] as LabSandbox, sandboxes[2] as LabSandbox];

  it('of a network is what the underlay leaves, and every path is measured', async () => {
    const [one, two, three] = hosts();
    await segment(hosts());
    await one.api.call('networkCreate', { body: { Name: 'frontend' } });
    await settled(stage.lab);
    for (const host of hosts()) {
      sandboxes.push(await host.createSandbox({ Name: `of-${host.name}`, Networks: ['frontend'] }));
    }
    await pathIs(one, two, 1500, /udp/);
    await pathIs(two, one, 1500, /udp/);
    await pathIs(three, one, 1500, /udp/);
    await has(hosts(), 'frontend', 1450, sandboxes);
    await carries(...ends(), 'frontend', 1450);
    for (const host of hosts()) await noWarnings(host);
  });

  it('follows a black hole down and up, names the peer, and carries bulk TCP', async () => {
    const [one, , three] = hosts();
    await blackHole(stage.lab.underlay, three, 1400);
    await pathIs(one, three, 1400);
    await has(hosts(), 'frontend', 1350, sandboxes);
    await carries(...ends(), 'frontend', 1350);
    await warned(
      one,
      /^networks frontend, ingress: MTU 1350 and not 1450: path from host\d to host\d takes 1400 bytes$/,
    );
    await blackHole(stage.lab.underlay, three, null);
    await has(hosts(), 'frontend', 1450, sandboxes);
    await carries(...ends(), 'frontend', 1450);
  });

  it("follows the MTU of one host's device down and up, live", async () => {
    const [one, two, three] = hosts();
    await setMtu(two, 1400);
    await has(hosts(), 'frontend', 1350, sandboxes);
    await carries(...ends(), 'frontend', 1350);
    await warned(
      one,
      /^networks frontend, ingress: MTU 1350 and not 1450: the underlay device of host2 takes 1400 bytes$/,
    );
    await warned(
      three,
      /^networks frontend, ingress: MTU 1350 and not 1450: the underlay device of host2 takes 1400 bytes$/,
    );
    await setMtu(two, 1500);
    await has(hosts(), 'frontend', 1450, sandboxes);
  });

  it('a transfer that is running survives the MTU going down and up', async () => {
    const [one, , three] = hosts();
    const running = await flow(...ends(), 'frontend');
    await running.more();
    await blackHole(stage.lab.underlay, three, 1400);
    await has(hosts(), 'frontend', 1350, sandboxes);
    await running.more();
    await setMtu(one, 1300);
    await has(hosts(), 'frontend', 1280, sandboxes);
    // A veth takes four bytes more than its MTU, for a VLAN.
    await warned(three, /^path to host1 takes 130[04] bytes: no network has an MTU below 1280/);
    await setMtu(one, 1500);
    await has(hosts(), 'frontend', 1350, sandboxes);
    await running.more();
    await blackHole(stage.lab.underlay, three, null);
    await has(hosts(), 'frontend', 1450, sandboxes);
    await running.more();
    await running.end();
  });

  it('measures by UDP where ICMP is filtered, by ICMP where UDP is, and keeps what it knows where both are', async () => {
    const [one, , three] = hosts();
    await filter(three, 'meta l4proto icmp drop');
    await blackHole(stage.lab.underlay, three, 1420);
    await pathIs(one, three, 1420, /udp/);
    await filter(three, 'udp dport 7946 drop');
    await blackHole(stage.lab.underlay, three, 1380);
    await pathIs(one, three, 1380, /icmp/);
    await has(hosts(), 'frontend', 1330, sandboxes);
    await filter(three, 'meta l4proto icmp drop', 'udp dport 7946 drop');
    const silent = async (): Promise<true | undefined> => (await pathSeen(one, three))?.Answers === false || undefined;
    await eventually('nobody to answer', silent, patient);
    assert.equal((await pathSeen(one, three))?.Bytes, 1380);
    await has(hosts(), 'frontend', 1330, sandboxes);
  });

  it('an agent that starts anew goes on with what it knew, also where nobody answers', async () => {
    const [one, , three] = hosts();
    const before = one.agentLog.length;
    assert.equal(await one.stopAgent(), 0);
    await one.startAgent(agent);
    await settled(stage.lab);
    await has(hosts(), 'frontend', 1330, sandboxes);
    await warned(
      one,
      /^path MTU to host3 cannot be measured: neither ICMP echo nor UDP at the gossip port is answered/,
    );
    await filter(three);
    await blackHole(stage.lab.underlay, three, null);
    await has(hosts(), 'frontend', 1450, sandboxes);
    // Never less than it was, nor more before it could be known. Between the two may be what another host last measured.
    const said = [...one.agentLog.slice(before).matchAll(/network frontend: MTU (\d+)/g)].map(([, mtu]) => Number(mtu));
    assert.equal(said[0], 1330);
    assert.equal(said.at(-1), 1450);
    assert.deepEqual(
      said,
      [...new Set(said)].sort((a, b) => a - b),
    );
  });

  it('a host that is cut off, or down, is no small MTU', async () => {
    const [one, two, three] = hosts();
    const before = one.agentLog.length;
    await stage.lab.partition([one, two], [three]);
    const silent = async (): Promise<true | undefined> => (await pathSeen(one, three))?.Answers === false || undefined;
    await eventually('nobody to answer', silent, patient);
    assert.equal((await pathSeen(one, three))?.Bytes, 1500);
    await stage.lab.heal();
    await eventually('somebody to answer', async () => !(await silent()) || undefined, patient);
    await has(hosts(), 'frontend', 1450, sandboxes);
    assert.doesNotMatch(one.agentLog.slice(before), /network frontend: MTU/);
  });

  it('of a network with the option is what that says, and segments follow, also those of who knows nothing of it', async () => {
    const [one] = hosts();
    const [from, to] = ends();
    const created = await one.weft('network', 'create', '--opt', 'mtu=1300', 'small');
    assert.equal(created.exitCode, 0, created.stderr);
    await settled(stage.lab);
    for (const sandbox of [from, to]) {
      const body = { Sandbox: sandbox.name };
      await sandbox.host.api.call('networkConnect', { ref: 'small', body });
    }
    const inside = await Promise.all([from.host.sandbox(from.name), to.host.sandbox(to.name)]);
    await has([from.host, to.host], 'small', 1300, inside);
    const [sender, receiver] = inside;
    await carries(sender, receiver, 'small', 1300);
    const { Options: options } = await one.api.call('networkInspect', { ref: 'small' });
    assert.deepEqual(options, { 'com.docker.network.driver.mtu': '1300' });
    // As the SYN of a machine behind the sandbox, which takes its network for Ethernet.
    const device = sender.info.Networks.find(({ Network: name }) => name === 'small')?.Interface ?? '';
    await sender.exec('ip', ['route', 'replace', `${receiver.address('small')}/32`, 'dev', device, 'advmss', '1460']);
    const count = ['table ip count {', 'chain input {', 'type filter hook input priority 0; policy accept;'];
    const large = 'tcp flags & (syn | ack) == syn tcp option maxseg size';
    const rules = [`${large} > 1260 counter`, `${large} 1260 counter`, '}', '}'];
    await receiver.exec('nft', ['-f', '-'], { input: `${[...count, ...rules].join('\n')}\n` });
    await carries(sender, receiver, 'small', 1300);
    const { stdout } = await receiver.exec('nft', ['list', 'table', 'ip', 'count']);
    assert.match(stdout, /> 1260 counter packets 0 /, stdout);
    assert.match(stdout, / 1260 counter packets [1-9]/, stdout);
  });
});

for (const [mtu, lowered] of [
  [9000, 8950],
  [1400, 1350],
] as const) {
  describe(`MTU of an underlay of ${mtu}`, () => {
    const stage = useLab({ hosts: 2, mtu, cluster: { agent } });

    it('is that of networks on it, without a warning, and follows one host that has less', async () => {
      const hosts = [stage.lab.host(1), stage.lab.host(2)] as const;
      const [one, two] = hosts;
      await segment(hosts);
      await one.api.call('networkCreate', { body: { Name: 'frontend' } });
      await settled(stage.lab);
      const from = await one.createSandbox({ Name: 'from', Networks: ['frontend'] });
      const to = await two.createSandbox({ Name: 'to', Networks: ['frontend'] });
      await pathIs(one, two, mtu);
      await has(hosts, 'frontend', lowered, [from, to]);
      await carries(from, to, 'frontend', lowered);
      await noWarnings(one);
      await setMtu(two, 1350);
      await has(hosts, 'frontend', 1300, [from, to]);
      await carries(from, to, 'frontend', 1300);
      await warned(
        one,
        new RegExp(`^networks frontend, ingress: MTU 1300 and not ${lowered}: the underlay device of host2 takes 1350`),
      );
      await setMtu(two, mtu);
      await has(hosts, 'frontend', lowered, [from, to]);
      await carries(from, to, 'frontend', lowered);
    });
  });
}

describe('MTU of an IPv6 underlay', () => {
  const stage = useLab({ hosts: 2, families: ['IPv6'], cluster: { agent } });

  it('leaves 20 bytes less, and a black hole and filters are followed as over IPv4', async () => {
    const hosts = [stage.lab.host(1), stage.lab.host(2)] as const;
    const [one, two] = hosts;
    await segment(hosts);
    await one.api.call('networkCreate', { body: { Name: 'frontend' } });
    await settled(stage.lab);
    const from = await one.createSandbox({ Name: 'from', Networks: ['frontend'] });
    const to = await two.createSandbox({ Name: 'to', Networks: ['frontend'] });
    await pathIs(one, two, 1500, /udp/);
    await has(hosts, 'frontend', 1430, [from, to]);
    await carries(from, to, 'frontend', 1430);
    await blackHole(stage.lab.underlay, two, 1400);
    await pathIs(one, two, 1400, /udp/);
    await has(hosts, 'frontend', 1330, [from, to]);
    await carries(from, to, 'frontend', 1330);
    await warned(
      one,
      /^networks frontend, ingress: MTU 1330 and not 1430: path from host\d to host\d takes 1400 bytes$/,
    );
    await filter(two, 'udp dport 7946 drop');
    await blackHole(stage.lab.underlay, two, null);
    await pathIs(one, two, 1500, /icmp/);
    await has(hosts, 'frontend', 1430, [from, to]);
    await carries(from, to, 'frontend', 1430);
  });
});

describe('MTU of a path with a black hole from the start', () => {
  const stage = useLab({ hosts: 2, cluster: false });

  it('keeps nobody from joining, and networks have what it takes from the start', async () => {
    const hosts = [stage.lab.host(1), stage.lab.host(2)] as const;
    const [one, two] = hosts;
    await segment(hosts);
    await blackHole(stage.lab.underlay, two, 1330);
    await stage.lab.cluster({ agent });
    await one.api.call('networkCreate', { body: { Name: 'frontend' } });
    await settled(stage.lab);
    const from = await one.createSandbox({ Name: 'from', Networks: ['frontend'] });
    const to = await two.createSandbox({ Name: 'to', Networks: ['frontend'] });
    await has(hosts, 'frontend', 1280, [from, to]);
    await carries(from, to, 'frontend', 1280);
  });
});
