import { createHash } from 'node:crypto';

// How connections are led to one of several by turns: nft can count up to a fixed number and look the result up in a map, so
// there is a chain for each number of slots, and elements say which one has which slot.

/** Up to so many each has one slot; more of them share as many slots as are said below. */
const EXACT_MAX = 32;
/** 100 have 10 or 11 of them each. */
const WIDE = 1024;

/** Every number of slots that there can be, without none. */
export const SLOT_COUNTS: readonly number[] = [...Array.from({ length: EXACT_MAX }, (_, index) => index + 1), WIDE];

/** Who has which slot: each as often as the others, or one time more. */
export function slotsOf<T>(all: readonly T[]): T[] {
  if (all.length <= EXACT_MAX) return [...all];
  return Array.from({ length: WIDE }, (_, slot) => all[slot % all.length] as T);
}

/** A number below `below` that is always the same for this text. */
export const numberOf = (text: string, below: number): number =>
  (createHash('sha256').update(text).digest()[0] ?? 0) % below;

/**
 * A counter for so many slots, one of `counters` of that size: of two services whose clients ask them in turn, one counter would
 * show each client of one the same backend every time. @param which below `counters`
 */
export const counterOf = (slots: number, counters: number, which: number): number => slots * counters + which;

/** All of them. */
export const countersOf = (counters: number): { readonly slots: number; readonly counter: number }[] =>
  SLOT_COUNTS.flatMap((slots) =>
    Array.from({ length: counters }, (_, which) => ({ slots, counter: counterOf(slots, counters, which) })),
  );

/** The chain in which a counter is. */
export const turnName = (counter: number): string => `turn${counter}`;
