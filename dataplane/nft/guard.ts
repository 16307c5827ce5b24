import type { DesiredGuard } from '../desired.ts';
import { type DesiredTable, GUARD_TABLE, tableOf } from './tables.ts';

// Behind defragmentation, before any filter: a drop there is final whatever other tables accept.
const PRIORITY = 'mangle';

/**
 * The table that keeps the frames of outsiders from the overlays. A VXLAN device takes whatever reaches its UDP port, and
 * the inner frame says by itself who it is from (RFC 7348, section 7), so:
 * - what comes to our networks must come from the VTEP of a member;
 * - what this host forwards (for a container, say, and masquerades, so that it would look like ours) must not be for the
 *   port of a member, unless it comes from one: a member may be a guest of this host;
 * - what processes of this host send there must be of root: the kernel's own frames belong to no process of the host.
 * Only networks of the cluster are guarded: others, such as Swarm, may use the same port for theirs.
 *
 * And connection tracking does not look at frames of ours: each connection inside has a port of its own outside (RFC 7348,
 * section 5), which would fill the host's table with what nobody asks it about, and a tenth of the kernel's time for a small
 * packet went there.
 */
export function guardFor(guard: DesiredGuard): DesiredTable {
  const known = rendered.get(guard) ?? render(guard);
  rendered.set(guard, known);
  return known;
}

// A plan hands over the same guard for as long as it is the same, and a difference is taken with every endpoint.
const rendered = new WeakMap<DesiredGuard, DesiredTable>();

function render({ port, vteps, vnis }: DesiredGuard): DesiredTable {
  const frame = `udp dport ${port} @th,96,24 @vnis`;
  // Of all that passes here little is VXLAN, and of that each packet is looked up once.
  const unlessFrame = ['meta l4proto != udp return', `udp dport != ${port} return`, '@th,96,24 != @vnis return'];
  const families = [
    ['ip', '@vteps4'],
    ['ip6', '@vteps6'],
  ] as const;
  const strangers = families.map(([family, members]) => `${family} saddr != ${members} drop`);
  return tableOf(
    GUARD_TABLE,
    [
      {
        ...{ name: 'prerouting', type: 'filter', hook: 'prerouting', priority: 'raw' },
        rules: [`${frame} notrack`],
      },
      {
        ...{ name: 'output', type: 'filter', hook: 'output', priority: 'raw' },
        rules: [...unlessFrame, 'meta skuid != 0 drop', 'notrack'],
      },
      {
        ...{ name: 'input', type: 'filter', hook: 'input', priority: PRIORITY },
        rules: [...unlessFrame, ...strangers],
      },
      {
        ...{ name: 'forward', type: 'filter', hook: 'forward', priority: PRIORITY },
        rules: families.map(
          ([family, members]) => `${family} daddr ${members} ${frame} ${family} saddr != ${members} drop`,
        ),
      },
    ],
    new Map([
      ['vteps4', new Set(vteps.filter((ip) => !ip.includes(':')))],
      ['vteps6', new Set(vteps.filter((ip) => ip.includes(':')))],
      ['vnis', new Set(vnis.map(String))],
    ]),
  );
}
