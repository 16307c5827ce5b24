import type { NodeId } from '../ids.ts';
import type { RangeValue } from '../tables/kinds.ts';
import type { SignedRecord } from '../tables/record.ts';
import { grantsOf, type RingId } from '../tables/subnets.ts';
import type { Tables } from '../tables/tables.ts';
import type { Range } from './ring.ts';

/** Signs a grant of this node and resolves when it is on disk. One that is there already is not written again. */
export async function writeGrant(
  tables: Tables,
  ring: RingId,
  { start, end, generation }: Range & { readonly generation: number },
  to: NodeId,
): Promise<SignedRecord> {
  const { topic, prefix } = grantsOf(ring);
  const key = `${prefix}${start}-${end}/${generation}`;
  const value: RangeValue = { start, end, to, generation };
  const known = tables.own(topic, key);
  if (known === null) return tables.put(topic, key, value);
  await tables.flushed();
  return known;
}
