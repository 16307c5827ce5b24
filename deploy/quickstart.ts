// Three hosts and one overlay; what `deploy/quickstart` runs when all is installed and built. Its usage is there.
import { parseArgs } from 'node:util';
import { Lab, OUTSIDE } from '../test/lab/lab.ts';
import { entries, gateway, isolation, reachability, sizes } from './demo/checks.ts';
import { tearDown } from './demo/end.ts';
import { Report } from './demo/report.ts';
import { build, type Scene } from './demo/scene.ts';

const { values: flags } = parseArgs({ options: { keep: { type: 'boolean' }, json: { type: 'boolean' } } });
const report = new Report(Number(process.env['QUICKSTART_STARTED_MS'] ?? Date.now()));

async function run(lab: Lab): Promise<Scene> {
  const scene = await build(lab, report);
  report.step('Same network, different hosts');
  await reachability(scene, report);
  report.step('No common network');
  await isolation(scene, report);
  report.step('North and south');
  await gateway(scene, report);
  report.step('Sizes');
  await sizes(scene, report);
  report.step('Kernels');
  await entries(scene, report);
  return scene;
}

function explain(lab: Lab): void {
  const [first = '', second = '', third = ''] = lab.writeScripts();
  process.stderr.write(`
It stays up until you end it with Ctrl-C. Look around from another terminal:

  ${first} weft status
  ${first} weft endpoint ls
  ${second} weft sandbox exec web-2 -- ping -c 3 ${OUTSIDE.address}
  ${third} ip netns exec weft bridge fdb show
  ${third} bash
`);
}

/** Resolves when the person has had enough. */
function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => resolve());
  });
}

report.step('Three hosts on this machine');
let lab: Lab | undefined;
try {
  const started = performance.now();
  lab = await Lab.create({ hosts: 3 });
  report.add('hosts and their underlay', true, performance.now() - started, 'ms');
  await run(lab);
  const status = await lab.host(1).weft('status');
  if (!flags.json) process.stdout.write(`\n${status.stdout}`);
  report.add('weft status', status.exitCode === 0, status.stdout.length, 'characters', status.stderr.trim());
  if (flags.keep) {
    explain(lab);
    await interrupted();
  }
  await tearDown(lab, report);
} catch (error) {
  const why = error instanceof Error ? error.message : String(error);
  report.add('quickstart', false, 0, 'errors', why);
  if (lab) process.stderr.write(`\n${lab.logs()}\n`);
} finally {
  await lab?.[Symbol.asyncDispose]();
}

const failed = report.checks.filter((check) => !check.ok);
if (flags.json) {
  const installed = (process.env['QUICKSTART_INSTALLED'] ?? '').split(',').filter(Boolean);
  const result = { ok: report.ok, seconds: report.seconds, installed, checks: report.checks };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
process.stderr.write(
  `\n${report.checks.length - failed.length} of ${report.checks.length} checks held, ${report.seconds} s\n`,
);
for (const check of failed)
  process.stderr.write(`FAIL ${check.name}: ${check.detail || `${check.value} ${check.unit}`}\n`);
process.exitCode = report.ok ? 0 : 1;
