// How far readers are in a stream, and what one has that another lacks.

/** A moment of a stream: all of `epoch` up to `seq`. */
export interface Place {
  readonly epoch: number;
  readonly seq: number;
}

/** How far a reader is in one epoch: all up to `seq` is known or superseded. */
export interface Reach extends Place {
  /** Hash over the signatures of what is here up to `seq`: an owner that signs two records for one place shows by that. */
  readonly sum: number;
  /** The same of what is here beyond the next gap; 0 when there is no gap. */
  readonly ahead: number;
}

/** How far a reader is in a stream: in the newest epoch that it knows of. */
export interface Position extends Reach {
  /** While that is still being gathered: the reach in the epoch that is shown, or gathered, meanwhile. Otherwise null. */
  readonly before: Reach | null;
}

export const nothing: Reach = { epoch: 0, seq: 0, sum: 0, ahead: 0 };
export const nowhere: Position = { ...nothing, before: null };

export function isBehind(mine: Place, theirs: Place): boolean {
  return mine.epoch < theirs.epoch || (mine.epoch === theirs.epoch && mine.seq < theirs.seq);
}

/** Whether who is at `theirs` may have something that who is at `mine` lacks. */
export function mayLack(mine: Position, theirs: Position): boolean {
  if (lacksOf(mine, theirs)) return true;
  // Two that can get no further in the newest epoch still have to show the same.
  return isSame(mine, theirs) && mine.before !== null && theirs.before !== null && lacksOf(mine.before, theirs.before);
}

/** The same of one epoch. */
export function lacksOf(mine: Reach, theirs: Reach): boolean {
  if (isBehind(mine, theirs)) return true;
  const samePlace = mine.epoch === theirs.epoch && mine.seq === theirs.seq;
  return samePlace && (theirs.sum !== mine.sum || (theirs.ahead !== 0 && theirs.ahead !== mine.ahead));
}

const isSame = (a: Reach, b: Reach): boolean =>
  a.epoch === b.epoch && a.seq === b.seq && a.ahead === b.ahead && a.sum === b.sum;
