import type { Log } from '../log.ts';
import { HostProbe } from '../path/probe.ts';
import type { Ip, NetnsPath } from '../values.ts';
import { synAnswers } from './syn.ts';
import { tcpAnswers } from './tcp.ts';

/** Nothing listens there (discard, RFC 863); where something does, that is an answer, too. */
const TCP_PORT = 9;
/** Echo requests of full size, sent one after the other as long as none is answered. */
const FULL_TRIES = 3;

/** A place on an overlay that packets can be sent from. */
export interface TestSource {
  readonly netns: NetnsPath;
  /** IPv4 */
  readonly ip: Ip;
  /** Bytes of an IP packet that the network takes. */
  readonly mtu: number;
}

/** What came back from an endpoint on another host, through VXLAN both ways. */
export interface PathFindings {
  /** A small ICMP echo; nothing else is tried without it. */
  readonly small: boolean;
  /** An ICMP echo that fills the network's MTU, not to be fragmented. */
  readonly full: boolean;
  /** TCP as a program sends it. */
  readonly tcp: boolean;
  /** A TCP segment whose checksum no network card has touched; tried only where `tcp` fails. */
  readonly softwareTcp: boolean;
  /** Of the small echo, milliseconds; null without. */
  readonly rttMs: number | null;
}

/** Where a path fails, and so what there is to do. */
export type Fault =
  /** Nothing comes back through VXLAN. */
  | 'vxlan'
  /** Checksums that this host leaves to its network card come out wrong. */
  | 'offload'
  /** ICMP comes back, TCP does not. */
  | 'tcp'
  /** Packets that fill the MTU get lost. */
  | 'size';

const NOTHING: PathFindings = { small: false, full: false, tcp: false, softwareTcp: false, rttMs: null };

/** What the findings say is wrong, the first of it; null for nothing. Pure. */
export function faultIn({ small, full, tcp, softwareTcp }: PathFindings): Fault | null {
  if (!small) return 'vxlan';
  if (!tcp) return softwareTcp ? 'offload' : 'tcp';
  return full ? null : 'size';
}

/**
 * Sends small and full packets and TCP to an endpoint on another host, and sees what comes back; the kernel there answers, no
 * agent has to. Rejects when the namespace has gone or raw sockets cannot be opened.
 */
export async function testPath(log: Log, source: TestSource, to: Ip, timeoutMs: number): Promise<PathFindings> {
  const { netns, ip, mtu } = source;
  const probe = new HostProbe(log, netns);
  await probe.load();
  const startMs = performance.now();
  if ((await probe.answers(to, timeoutMs)) !== true) return NOTHING;
  const rttMs = performance.now() - startMs;
  const [full, tcp] = await Promise.all([
    fullAnswers(probe, to, mtu, timeoutMs),
    tcpAnswers(netns, to, TCP_PORT, timeoutMs),
  ]);
  const softwareTcp = tcp || (await synAnswers(netns, ip, to, TCP_PORT, timeoutMs));
  return { small: true, full, tcp, softwareTcp, rttMs };
}

async function fullAnswers(probe: HostProbe, to: Ip, mtu: number, timeoutMs: number): Promise<boolean> {
  const timers: NodeJS.Timeout[] = [];
  const ends: (() => void)[] = [];
  try {
    return await new Promise<boolean>((resolve) => {
      const send = (): void =>
        void ends.push(probe.send({ address: to, port: 0 }, mtu, (what) => resolve(what === 'answer')));
      for (let attempt = 0; attempt < FULL_TRIES; attempt++) {
        timers.push(setTimeout(send, (timeoutMs / FULL_TRIES) * attempt));
      }
      timers.push(setTimeout(() => resolve(false), timeoutMs));
    });
  } finally {
    for (const timer of timers) clearTimeout(timer);
    for (const end of ends) end();
  }
}
