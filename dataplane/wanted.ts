import type { Desired } from './desired.ts';

export interface SetOptions {
  /** False until the caller knows everything that is wanted; until then nothing is removed for not being wanted. */
  readonly prune: boolean;
}

/** What was handed over, as it was handed over. */
export interface Wanted extends SetOptions {
  readonly desired: Desired;
}
