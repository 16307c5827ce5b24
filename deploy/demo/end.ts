import { existsSync, readlinkSync } from 'node:fs';
import type { Lab } from '../../test/lab/lab.ts';
import { allPids, eventually } from '../../test/lab/process.ts';
import { labDirectory, processesOf } from '../../test/lab/sweep.ts';
import type { Report } from './report.ts';

/** Stops the agents, ends the hosts, and looks for what is left. */
export async function tearDown(lab: Lab, report: Report): Promise<void> {
  report.step('The end');
  const stop = performance.now();
  const codes = await Promise.all(lab.hosts.map((host) => host.stopAgent()));
  const clean = codes.every((code) => code === 0);
  report.add('agents stop when told to', clean, performance.now() - stop, 'ms', `exit codes ${codes.join(', ')}`);
  const namespaces = namespacesOf(lab.processes());
  await lab[Symbol.asyncDispose]();
  // The kernel frees a namespace a moment after its last process.
  const left = await eventually(
    'the namespaces to be gone',
    () => {
      const there = [...namespacesOf(allPids())].filter((namespace) => namespaces.has(namespace));
      return there.length === 0 ? 0 : undefined;
    },
    { timeoutMs: 5_000 },
  ).catch(() => 1);
  const processes = processesOf(lab.id).length;
  const directory = existsSync(labDirectory(lab.id)) ? 1 : 0;
  const what = `${processes} processes, ${left === 0 ? 'no' : 'some'} namespaces, ${directory} directories`;
  report.add(
    'nothing is left behind',
    processes + left + directory === 0,
    processes + left + directory,
    'things',
    what,
  );
}

function namespacesOf(pids: readonly number[]): Set<string> {
  const own = readlinkSync('/proc/self/ns/net');
  const found = pids.flatMap((pid) => {
    try {
      return [readlinkSync(`/proc/${pid}/ns/net`)];
    } catch {
      return [];
    }
  });
  return new Set(found.filter((namespace) => namespace !== own));
}
