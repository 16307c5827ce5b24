import { fileURLToPath } from 'node:url';
import type { Network } from '../../agent/api/schema.ts';
import { checkEntries } from '../../test/lab/expect.ts';
import type { LabSandbox } from '../../test/lab/host.ts';
import { OUTSIDE } from '../../test/lab/lab.ts';
import { mapLimit, pairs } from '../../test/lab/limit.ts';
import type { PingSummary } from '../../test/lab/ping.ts';
import type { Report } from './report.ts';
import { NETWORKS, type Scene } from './scene.ts';

const TCP = fileURLToPath(new URL('../../test/lab/tools/tcp.mjs', import.meta.url));
const AT_ONCE = 6;

/** The one probe of all checks, those for "reaches" and those for "does not": so neither can pass by its own fault. */
function probe(from: LabSandbox, address: string): Promise<PingSummary> {
  return from.ping(address, { count: 3, intervalMs: 50, waitMs: 1000 });
}

function label(sandbox: LabSandbox): string {
  return sandbox.name === 'ingress-sbox' ? `ingress-sbox@${sandbox.host.name}` : sandbox.name;
}

function isOn(sandbox: LabSandbox, network: string): boolean {
  return sandbox.info.Networks.some((endpoint) => endpoint.Network === network);
}

/** Sandboxes of the same network on different hosts reach each other. */
export async function reachability({ sandboxes }: Scene, report: Report): Promise<void> {
  for (const network of NETWORKS) {
    const members = sandboxes.filter((sandbox) => isOn(sandbox, network));
    const across = pairs(members).filter(([a, b]) => a.host !== b.host);
    const results = await mapLimit(across, AT_ONCE, ([a, b]) => probe(a, b.address(network)));
    for (const [at, result] of results.entries()) {
      const [a, b] = across[at] ?? [];
      if (!a || !b) continue;
      const ok = result.received === result.sent;
      report.add(`${network}: ${label(a)} reaches ${label(b)}`, ok, result.rttMs?.avg ?? 0, 'ms', b.address(network));
    }
  }
}

/** Sandboxes without a common network do not, while the same probe from the same place gets through on a common one. */
export async function isolation({ sandboxes }: Scene, report: Report): Promise<void> {
  const made = sandboxes.filter((sandbox) => sandbox.name !== 'ingress-sbox');
  const strangers = made.flatMap((from) =>
    made.flatMap((to) =>
      NETWORKS.filter((network) => isOn(to, network) && !isOn(from, network)).map((network) => ({ from, to, network })),
    ),
  );
  const results = await mapLimit(strangers, 12, ({ from, to, network }) => probe(from, to.address(network)));
  const control = await mapLimit(made, AT_ONCE, (from) => controlOf(from, made));
  for (const [at, result] of results.entries()) {
    const { from, to, network } = strangers[at] ?? {};
    if (!from || !to || !network) continue;
    const proof = control.find(({ name }) => name === from.name);
    const ok = result.received === 0 && (proof?.received ?? 0) > 0;
    const detail = `the same probe to ${proof?.to} gets ${proof?.received} of ${proof?.sent}`;
    const name = `${from.name} does not reach ${to.name} by its ${network} address`;
    report.add(name, ok, result.received, 'replies', detail);
  }
}

async function controlOf(from: LabSandbox, all: readonly LabSandbox[]) {
  for (const to of all) {
    const common = NETWORKS.find((network) => isOn(from, network) && isOn(to, network));
    if (to.host === from.host || common === undefined) continue;
    return { name: from.name, to: `${to.name} on ${common}`, ...(await probe(from, to.address(common))) };
  }
  return { name: from.name, to: '(none)', sent: 0, received: 0, rttMs: null };
}

/** North and south: the outside through docker_gwbridge, and nobody of the same host through it. */
export async function gateway({ lab, sandboxes }: Scene, report: Report): Promise<void> {
  const made = sandboxes.filter((sandbox) => sandbox.name !== 'ingress-sbox');
  for (const sandbox of made) {
    const result = await probe(sandbox, OUTSIDE.address);
    const said = await sandbox.exec(process.execPath, [TCP, 'read', OUTSIDE.address, String(OUTSIDE.port)], {
      check: false,
    });
    const seen = said.stdout.trim();
    const ok = result.received === result.sent && seen === sandbox.host.address;
    report.add(
      `${sandbox.name} reaches the outside`,
      ok,
      result.rttMs?.avg ?? 0,
      'ms',
      `seen there as ${seen || 'nobody'}`,
    );
  }
  for (const host of lab.hosts) {
    const [a, b] = sandboxes.filter((sandbox) => sandbox.host === host && sandbox.info.Gateway !== null);
    const address = b?.info.Gateway?.IPv4Address.replace(/\/.*/, '');
    const bridge = a?.info.Gateway?.Gateway;
    if (!a || !b || address === undefined || bridge === undefined) {
      report.add(`${host.name}: docker_gwbridge`, false, 0, 'replies', 'no two sandboxes with a leg on it');
      continue;
    }
    const [between, control] = await Promise.all([probe(a, address), probe(a, bridge)]);
    const ok = between.received === 0 && control.received > 0;
    const detail = `the same probe to the bridge's own ${bridge} gets ${control.received} of ${control.sent}`;
    const name = `${label(a)} does not reach ${label(b)} by docker_gwbridge`;
    report.add(name, ok, between.received, 'replies', detail);
  }
}

/** The largest packet passes whole and one byte more does not; bulk TCP arrives as it was sent. */
export async function sizes({ lab, sandboxes }: Scene, report: Report): Promise<void> {
  const [from, to] = [sandboxes.find((s) => s.name === 'web-1'), sandboxes.find((s) => s.name === 'app-3')];
  if (!from || !to) throw new Error('web-1 and app-3 are part of the scene');
  const address = to.address('frontend');
  const [network] = await lab.host(1).weftJson<Network[]>('network', 'inspect', 'frontend');
  const mtu = network?.MTU ?? 0;
  // 20 bytes of IPv4 header and 8 of ICMP.
  const fits = await from.ping(address, { count: 2, dataBytes: mtu - 28, dontFragment: true });
  const over = await from.ping(address, { count: 1, dataBytes: mtu - 27, dontFragment: true });
  const ok = fits.received === fits.sent && over.received === 0;
  report.add('unfragmented packets of the MTU cross hosts', ok, mtu, 'bytes', 'and one byte more is refused');

  const server = await to.host.spawn('nsenter', [
    `--net=${to.info.NetnsPath}`,
    '--',
    process.execPath,
    TCP,
    'serve',
    '8080',
  ]);
  await server.says(/^listening$/m);
  const bytes = 8 * 1024 * 1024;
  const sent = await from.host.weft(
    'sandbox',
    'exec',
    from.name,
    '--',
    process.execPath,
    TCP,
    'send',
    address,
    '8080',
    String(bytes),
  );
  await server.end('SIGKILL');
  const { received = 0, ms = 0 } = JSON.parse(sent.stdout || '{}') as { received?: number; ms?: number };
  const whole = sent.exitCode === 0 && received === bytes;
  report.add('bulk TCP crosses hosts', whole, received, 'bytes', sent.stderr.trim() || `in ${ms} ms, SHA-256 equal`);
}

/** Each kernel has one FDB and one neighbour entry for each remote endpoint, and none besides. */
export async function entries({ lab }: Scene, report: Report): Promise<void> {
  for (const host of lab.hosts) {
    const check = await checkEntries(host);
    const wrong = [
      ...check.missing.map((entry) => `missing ${entry}`),
      ...check.extra.map((entry) => `extra ${entry}`),
    ];
    const ok = wrong.length === 0 && check.wanted > 0;
    report.add(
      `${host.name}: kernel has what the tables say`,
      ok,
      check.wanted,
      'entries',
      wrong.slice(0, 4).join('; '),
    );
  }
}
