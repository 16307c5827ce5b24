const FIRST = 10_000;
/** Where those begin that the kernel chooses itself (ip(7), `ip_local_port_range`). */
const END = 32_768;
let next = FIRST;

/**
 * As many ports to send datagrams from, which nobody has sent from before: for half a minute the kernel takes what comes from a
 * port once more for the same flow, and leads it where it led that, to an endpoint that takes nothing new any more.
 * @returns the first of them
 */
export function sourcePorts(count: number): number {
  if (next + count > END) next = FIRST;
  next += count;
  return next - count;
}
