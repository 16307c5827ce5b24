import type { Named, NetworkNames } from '../../../../agent/dns/decide.ts';
import { namesOf } from '../../../../agent/dns/decide.ts';
import { nameData, types } from '../../../../agent/dns/wire.ts';

/** The names of a network, looked for one by one. */
export function networkOf(
  network: string,
  endpoints: readonly Named[],
  covers: (address: string) => boolean,
  virtual: Readonly<Record<string, { readonly ip?: string; readonly ip6?: string }>> = {},
): NetworkNames {
  const which = (test: (endpoint: Named) => boolean): ReadonlySet<Named> | undefined => {
    const found = new Set(endpoints.filter(test));
    return found.size === 0 ? undefined : found;
  };
  return {
    network,
    named: (name) => which((endpoint) => namesOf(endpoint).includes(name)),
    at: (address) => which(({ ip, ip6 }) => ip === address || ip6 === address) ?? (covers(address) ? undefined : null),
    virtual: (name) => virtual[name],
    virtualAt: (address) =>
      Object.keys(virtual).find((name) => virtual[name]?.ip === address || virtual[name]?.ip6 === address),
  };
}

/** A query as a resolver sends it. */
export function queryFor(
  name: string,
  type: number = types.A,
  more: { edns?: number; flags?: number; id?: number } = {},
): Buffer {
  const { edns, flags = 0x0100, id = 0x1234 } = more;
  const head = Buffer.alloc(12);
  for (const [at, value] of [id, flags, 1, 0, 0, edns === undefined ? 0 : 1].entries())
    head.writeUInt16BE(value, 2 * at);
  const opt = edns === undefined ? [] : [Buffer.from([0, 0, 41, edns >> 8, edns & 0xff, 0, 0, 0x80, 0, 0, 0])];
  return Buffer.concat([head, nameData(name), Buffer.from([type >> 8, type & 0xff, 0, 1]), ...opt]);
}
