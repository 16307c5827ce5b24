import { ControlPlaneError } from '../errors.ts';
import type { NodeId } from '../ids.ts';
import type { RingSpace } from './allocator.ts';

const reasons = ['none', 'resting', 'taken', 'reserved', 'unreachable'] as const;

/** Why an owner gave nothing. */
export interface Refusal {
  readonly owner: NodeId;
  /** `none`: it has nothing to spare; `unreachable`: it could not be asked. The others are about a wanted number. */
  readonly reason: (typeof reasons)[number];
  readonly detail: string;
}

/** The answer to `range`: a signed grant, or why there is none. */
export type Answer =
  | { readonly grant: unknown; readonly reason?: undefined }
  | { readonly reason: Refusal['reason']; readonly detail: string };

/** @returns null for anything that is no answer; the grant in it is not looked at */
export function parseAnswer(value: unknown): Answer | null {
  if (typeof value !== 'object' || value === null) return null;
  const { grant, reason, detail } = value as { grant?: unknown; reason?: unknown; detail?: unknown };
  if (grant !== undefined) return { grant };
  const known = reasons.find((each) => each === reason);
  if (known === undefined || typeof detail !== 'string') return null;
  // It goes into a message for a person: one line, no control characters.
  return { reason: known, detail: detail.slice(0, 200).replace(/[^\x20-\x7e]/g, '?') };
}

/** For the person who asked: what there is none of, and why each owner gave nothing. */
export function refusalError(space: RingSpace, wanted: number | null, refusals: readonly Refusal[]): ControlPlaneError {
  const why = refusals.map(({ detail }) => detail).join('; ');
  const [only] = refusals;
  if (wanted !== null && only !== undefined && only.reason !== 'unreachable') return wantedError(space, wanted, only);
  if (refusals.some(({ reason }) => reason === 'resting')) {
    return new ControlPlaneError(
      'exhausted',
      `${space.name} has nothing free just now: ${why}`,
      'addresses rest for half a minute after their release; try again then',
    );
  }
  if (refusals.some(({ reason }) => reason === 'none')) {
    return new ControlPlaneError(
      'exhausted',
      `${space.name} has nothing free: ${why}`,
      'remove endpoints that are not needed, or add a subnet: `weft network update --subnet-add auto`',
    );
  }
  const what = wanted === null ? `no free part of ${space.name}` : `not ${space.nameOf(wanted)} of ${space.name}`;
  return new ControlPlaneError(
    'no_owner_reachable',
    `this node owns ${what}, and no owner could be asked: ${why}`,
    'bring one of these nodes back, then try again',
  );
}

/** For the person who wanted that number and no other. */
export function wantedError(
  space: RingSpace,
  wanted: number,
  { reason, detail }: Omit<Refusal, 'owner'>,
): ControlPlaneError {
  const name = space.nameOf(wanted);
  if (reason === 'reserved') {
    return new ControlPlaneError('address_reserved', `${name} on ${space.name} is ${detail}`, 'choose another address');
  }
  if (reason === 'resting') {
    return new ControlPlaneError('address_resting', `${name} on ${space.name}: ${detail}`, 'try again then');
  }
  return new ControlPlaneError('address_in_use', `${name} on ${space.name}: ${detail}`, 'choose another address');
}
