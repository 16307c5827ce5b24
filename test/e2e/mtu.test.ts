import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Network, Node, Status } from '../../agent/api/schema.ts';
import type { Host, LabSandbox } from '../lab/host.ts';
import { eventually } from '../lab/process.ts';
import { settled, useLab } from '../lab/suite.ts';

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

/** Bulk TCP and packets of exactly the MTU between two sandboxes. */
async function carries(from: LabSandbox, to: LabSandbox, network: string, mtu: number): Promise<void> {
  const address = to.address(network);
  const whole = await from.exec('ping', ['-M', 'do', '-s', String(mtu - 28), '-c', '2', '-W', '2', address], {
    check: false,
  });
  assert.match(whole.stdout, /[12] received/, `a packet of ${mtu} bytes: ${whole.stdout}`);
  const server = await to.host.spawn('nsenter', [
    `--net=${to.info.NetnsPath}`,
    '--',
    process.execPath,
    TCP,
    'serve',
    '5201',
  ]);
  try {
    await server.says(/^listening$/m);
    const sent = await from.exec(process.execPath, [TCP, 'send', address, '5201', '4000000'], { check: false });
    assert.match(sent.stdout, /"ok":true/, `${sent.stdout}${sent.stderr}`);
  } finally {
    server.signal('SIGKILL');
    await server.closed;
  }
}

/** Makes hosts send packets of the size that a wire would see: between veths they travel as one of up to 64 KB. */
async function segment(hosts: readonly Host[]): Promise<void> {
  for (const host of hosts) await host.exec('ip', ['link', 'set', 'eth0', 'gso_max_segs', '1']);
}

/** Drops, without a word, what is larger than so many bytes on its way to or from a host; null ends it. */
async function blackHole(underlay: Host['holder'], host: Host, bytes: number | null): Promise<void> {
  const rules = ['iifname', 'oifname'].map((side) => `${side} "${host.port}" ether type ip ip length > ${bytes} drop`);
  const chain = ['chain large {', 'type filter hook forward priority 0; policy accept;', ...rules, '}'];
  const table = bytes === null ? [] : ['table bridge hole {', ...chain, '}'];
  const input = `${['table bridge hole', 'delete table bridge hole', ...table].join('\n')}\n`;
  await underlay.exec('nft', ['-f', '-'], { input });
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
    for (const host of hosts()) assert.deepEqual((await host.api.call('status')).Warnings, []);
  });

  it('follows a black hole down and up, names the peer, and carries bulk TCP', async () => {
    const [one, , three] = hosts();
    await blackHole(stage.lab.underlay, three, 1400);
    await pathIs(one, three, 1400);
    await has(hosts(), 'frontend', 1350, sandboxes);
    await carries(...ends(), 'frontend', 1350);
    await warned(one, /^network frontend: MTU 1350 and not 1450: path from host\d to host\d takes 1400 bytes$/);
    await blackHole(stage.lab.underlay, three, null);
    await has(hosts(), 'frontend', 1450, sandboxes);
    await carries(...ends(), 'frontend', 1450);
  });

  it("follows the MTU of one host's device down and up, live", async () => {
    const [one, two, three] = hosts();
    await setMtu(two, 1400);
    await has(hosts(), 'frontend', 1350, sandboxes);
    await carries(...ends(), 'frontend', 1350);
    await warned(one, /^network frontend: MTU 1350 and not 1450: the underlay device of host2 takes 1400 bytes$/);
    await warned(three, /^network frontend: MTU 1350 and not 1450: the underlay device of host2 takes 1400 bytes$/);
    await setMtu(two, 1500);
    await has(hosts(), 'frontend', 1450, sandboxes);
  });
});
