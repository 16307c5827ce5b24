import { fileURLToPath } from 'node:url';
import type { Host, LabSandbox } from './host.ts';
import type { Inside } from './inside.ts';
import type { Lab } from './lab.ts';

/** What `dig` saw. */
export interface Dug {
  /** NOERROR, NXDOMAIN, …; '' when nobody answered. */
  readonly status: string;
  readonly flags: readonly string[];
  /** Data of the records in the answer, sorted. */
  readonly data: readonly string[];
  /** Of those that come with it. */
  readonly additional: readonly string[];
  /** Of the first of them, seconds. */
  readonly ttl: number;
}

/** Asks the agent of its host from inside a sandbox, once. */
export async function dig(from: LabSandbox, ...args: string[]): Promise<Dug> {
  const server = from.info.Gateway?.Gateway;
  if (server === undefined) throw new Error(`${from.name} is not on docker_gwbridge`);
  const words = [`@${server}`, '+tries=1', '+time=6', '+nocookie', ...args];
  return dug((await from.exec('dig', words, { check: false, timeoutMs: 15_000 })).stdout);
}

/** Asks Docker's own resolver from inside a container, as what runs there does. @param netns Docker's `SandboxKey` */
export async function digIn(host: Host, netns: string, ...args: string[]): Promise<Dug> {
  const words = [`--net=${netns}`, 'dig', '@127.0.0.11', '+tries=1', '+time=6', '+nocookie', ...args];
  return dug((await host.exec('nsenter', words, { check: false, timeoutMs: 15_000 })).stdout);
}

function dug(stdout: string): Dug {
  const [answer = '', more = ''] = stdout.split(/^;; ADDITIONAL SECTION:$/m);
  const recordsIn = (text: string) => [...text.matchAll(/^[^;\s]\S*\s+(\d+)\s+IN\s+(?!SOA)\S+\s+(.+)$/gm)];
  const answers = recordsIn(answer);
  return {
    status: /status: (\w+)/.exec(stdout)?.[1] ?? '',
    flags: /^;; flags: ([a-z ]+);/m.exec(stdout)?.[1]?.split(' ') ?? [],
    data: answers.map(([, , data = '']) => data).sort(),
    additional: recordsIn(more)
      .map(([, , data = '']) => data)
      .sort(),
    ttl: Number(answers[0]?.[1] ?? Number.NaN),
  };
}

/** What a program in a sandbox finds by the C library and the sandbox's own resolv.conf; [] for nothing. */
export async function getent(from: LabSandbox, name: string, database = 'ahostsv4'): Promise<string[]> {
  const { stdout } = await from.host.weft('sandbox', 'exec', from.name, '--', 'getent', database, name);
  return [...new Set(stdout.split('\n').flatMap((line) => line.split(/\s/)[0] || []))].sort();
}

/** A nameserver on the underlay, at that address of it. */
export async function nameserver(lab: Lab, address: string): Promise<Inside> {
  await lab.underlay.ip([`address replace ${address}/32 dev lo`]);
  const tool = fileURLToPath(new URL('tools/nameserver.mjs', import.meta.url));
  const server = await lab.underlay.spawn(process.execPath, [tool, address]);
  await server.says(/^listening /m);
  return server;
}
