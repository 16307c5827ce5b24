/** What ping(8) says at its end. */
export interface PingSummary {
  readonly sent: number;
  readonly received: number;
  /** Round trip times; null when nothing came back. */
  readonly rttMs: { readonly min: number; readonly avg: number; readonly max: number } | null;
}

/** Reads the last lines of iputils' ping. Throws when there are none: then it did not run, which is not "no answer". */
export function parsePing(text: string): PingSummary {
  const counts = /^(\d+) packets transmitted, (\d+) received/m.exec(text);
  if (!counts) throw new Error(`no summary of ping in: ${text.trim().slice(-500) || '(nothing)'}`);
  const times = /^rtt min\/avg\/max\/mdev = ([\d.]+)\/([\d.]+)\/([\d.]+)\//m.exec(text);
  return {
    sent: Number(counts[1]),
    received: Number(counts[2]),
    rttMs: times ? { min: Number(times[1]), avg: Number(times[2]), max: Number(times[3]) } : null,
  };
}

export interface PingOptions {
  /** @default 3 */
  readonly count?: number;
  /** @default 50 */
  readonly intervalMs?: number;
  /** How long to wait for the last answer. @default 1000 */
  readonly waitMs?: number;
  /** ICMP data; the packet is 28 bytes larger (IPv4 and ICMP headers). */
  readonly dataBytes?: number;
  /** Sets DF: a packet larger than the path is refused instead of cut into fragments. */
  readonly dontFragment?: boolean;
  /** Interface or source address to send from. */
  readonly from?: string;
}

/** Arguments for iputils' ping. */
export function pingArgs(address: string, options: PingOptions = {}): string[] {
  const { count = 3, intervalMs = 50, waitMs = 1000 } = options;
  return [
    '-n',
    ...['-c', String(count), '-i', String(intervalMs / 1000), '-W', String(waitMs / 1000)],
    ...(options.dataBytes === undefined ? [] : ['-s', String(options.dataBytes)]),
    ...(options.dontFragment ? ['-M', 'do'] : []),
    ...(options.from === undefined ? [] : ['-I', options.from]),
    address,
  ];
}
