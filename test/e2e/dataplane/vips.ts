import type { Desired, DesiredSandbox, Vip } from '../../../dataplane/desired.ts';
import { must, parseIp } from '../../../dataplane/values.ts';
import { type Asking, answersTo, hold, startServer as serve } from './asking.ts';
import type { Host } from './host.ts';
import { backend, guard, overlay, remote, remote6, sandbox, wanted, withIpv6 } from './wanted.ts';

// Two hosts with endpoints on one network, and a virtual address in each family that stands for some of them.

export const VIPS = { 4: '10.0.0.200', 6: 'fd00::200' } as const;
/** Of a service without an endpoint. */
export const NOBODY = { 4: '10.0.0.201', 6: 'fd00::201' } as const;
export type On = 'a' | 'b';

const ip6Of = (n: number) => must(parseIp(`fd00::${n.toString(16)}`));

/** One in each family. */
export const vipsOf = (backends: readonly number[]): Vip[] => [
  { ip: must(parseIp(VIPS[4])), backends: backends.map((n) => backend(n).ip) },
  { ip: must(parseIp(VIPS[6])), backends: backends.map(ip6Of) },
  ...[NOBODY[4], NOBODY[6]].map((ip) => ({ ip: must(parseIp(ip)), backends: [] })),
];

/** The client has number 9, and backends those that are said. */
export const CLIENT = 9;

export function vipState(
  on: On,
  here: Readonly<Record<On, readonly number[]>>,
  vips: readonly Vip[] | null,
  change: (box: DesiredSandbox) => DesiredSandbox = (box) => box,
): Desired {
  const other = on === 'a' ? 'b' : 'a';
  const remotes = here[other].flatMap((n) => [remote(4097, n, other), remote6(4097, n, other)]);
  return wanted({
    overlays: [overlay(4097, on, remotes)],
    sandboxes: here[on].map((n) => {
      const box = change(withIpv6(sandbox(`box${n}`, n, [4097])));
      return vips === null ? box : { ...box, vips };
    }),
    guard: guard(on, [4097]),
  });
}

/** An endpoint. */
export const startServer = (host: Host, n: number, netns = `weft-box${n}`): Promise<number> => serve(host, n, netns);

/** Answers, `ENDPOINT ADDRESS-THAT-IT-SAW` or an error, and how many of each. */
export const ask = (
  host: Host,
  protocol: 'tcp' | 'udp',
  to: string,
  count: number,
  more: Partial<Pick<Asking, 'netns' | 'atOnce' | 'from'>> = {},
): Promise<Record<string, number>> =>
  answersTo(host, { protocol, to, count, port: 80, netns: `weft-box${CLIENT}`, atOnce: 8, ...more });

/** A connection of the client that is in use until it breaks; how often it was, is in the file. */
export const holdConnection = (host: Host, to: string, file: string): Promise<number> =>
  hold(host, `weft-box${CLIENT}`, to, 80, file);
