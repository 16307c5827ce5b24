import type { StoredPort } from '../sandbox-state.ts';
import type { PortSpec } from './publish.ts';

/** A port of the host that somebody has. */
export interface Taken {
  readonly protocol: string;
  /** null: at every address. */
  readonly ip: string | null;
  readonly port: number;
}

export type Chosen =
  | { readonly ok: true; readonly ports: readonly StoredPort[] }
  | { readonly ok: false; readonly spec: PortSpec; readonly holder: Taken | null };

/**
 * A port of the host for each that is asked for. Pure.
 * @param ephemeral ports that those are taken from which ask for any; from `start` on, so that one that was freed a moment
 * ago comes again last
 */
export function choosePorts(
  specs: readonly PortSpec[],
  taken: readonly Taken[],
  ephemeral: readonly [first: number, last: number],
  start: number,
): Chosen {
  const byPort = new Map<string, Taken[]>();
  const note = (each: Taken): void => {
    const key = `${each.protocol} ${each.port}`;
    byPort.set(key, [...(byPort.get(key) ?? []), each]);
  };
  for (const each of taken) note(each);
  const holderOf = ({ protocol, hostIp }: PortSpec, port: number): Taken | undefined =>
    byPort.get(`${protocol} ${port}`)?.find(({ ip }) => ip === null || hostIp === null || ip === hostIp);
  const ports: StoredPort[] = [];
  // Those that name their ports come first: what asks for any must not take them.
  const ordered = [...specs].sort((a, b) => Number(a.hostPorts === null) - Number(b.hostPorts === null));
  let from = start;
  for (const spec of ordered) {
    const [first, last] = spec.hostPorts ?? ephemeral;
    const count = last - first + 1;
    const offset = spec.hostPorts === null ? (((from - first) % count) + count) % count : 0;
    let tried = 0;
    const next = (): number => first + ((offset + tried) % count);
    while (tried < count && holderOf(spec, next()) !== undefined) tried += 1;
    if (tried === count) return { ok: false, spec, holder: holderOf(spec, first) ?? null };
    const hostPort = next();
    if (spec.hostPorts === null) from = hostPort + 1;
    const { protocol, hostIp, port } = spec;
    ports.push({ protocol, hostIp, hostPort, port });
    note({ protocol, ip: hostIp, port: hostPort });
  }
  return { ok: true, ports };
}
