import { after, before } from 'node:test';
import { type Cluster, type ClusterOptions, converged } from './cluster.ts';
import { checkEntries } from './expect.ts';
import type { Host } from './host.ts';
import { Lab, type LabOptions } from './lab.ts';
import { eventually } from './process.ts';

/** A lab and its cluster, there from the first test of a file to the last. */
export interface Stage {
  readonly lab: Lab;
  readonly cluster: Cluster;
}

/** Makes a lab for the tests of the enclosing suite; with `cluster`, all hosts are in one. */
export function useLab(options: LabOptions & { readonly cluster?: ClusterOptions | false }): Stage {
  let lab: Lab | undefined;
  let cluster: Cluster | undefined;
  before(async () => {
    lab = await Lab.create(options);
    if (options.cluster !== false) cluster = await lab.cluster(options.cluster);
  });
  after(() => lab?.[Symbol.asyncDispose]());
  const there = <T>(value: T | undefined, what: string): T => {
    if (value === undefined) throw new Error(`there is no ${what}: ask for it inside a test`);
    return value;
  };
  return {
    get lab() {
      return there(lab, 'lab');
    },
    get cluster() {
      return there(cluster, 'cluster');
    },
  };
}

/** A dial that ran into the end of its time is followed by a pause and another. */
const CONNECTED = { timeoutMs: 30_000 };

/** Waits until all hosts are connected, tables and kernels agree, and checks with our own eyes that they do. */
export async function settled(lab: Lab, hosts = lab.hosts): Promise<void> {
  const [first] = hosts;
  // Who is suspended is not waited for by the agent.
  for (const host of hosts) {
    await eventually(
      `${host.name} to be connected with the others`,
      async () => {
        const { Peers: peers } = await host.api.call('status');
        const connected = peers.flatMap(({ Hostname: name, State: state }) => (state === 'connected' ? [name] : []));
        const missing = hosts.filter((other) => other !== host && !connected.includes(other.name));
        if (missing.length === 0) return true;
        throw new Error(`not connected: ${missing.map(({ name }) => name).join(', ')}`);
      },
      CONNECTED,
    );
  }
  if (first) await converged(first);
  for (const host of hosts) {
    await eventually(`the kernel of ${host.name} to have what its tables say`, async () => {
      const { missing, extra } = await checkEntries(host);
      if (missing.length + extra.length === 0) return true;
      throw new Error(`missing: ${missing.join('; ') || 'nothing'}, extra: ${extra.join('; ') || 'nothing'}`);
    });
  }
}

/** Waits until a host warns of nothing, or throws with what it warns of: a probe that was made too early is made again. */
export async function noWarnings(host: Host): Promise<void> {
  const probe = async (): Promise<boolean> => {
    const { Warnings: warnings } = await host.api.call('status');
    if (warnings.length === 0) return true;
    throw new Error(warnings.join('; '));
  };
  await eventually(`no warning on ${host.name}`, probe, { timeoutMs: 30_000 });
}
