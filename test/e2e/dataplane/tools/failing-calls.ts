/** How one call fails. */
export const WAYS = {
  /** Refused: the kernel is as it was. */
  EPERM: 1,
  /** Refused; of what is added only where it is not there: somebody was faster. */
  EEXIST: 17,
  /** Refused; of what is to be deleted: somebody was faster. */
  ENOENT: 2,
  /** The kernel has done it, and its answer was lost. */
  ENOBUFS: 105,
  /** The kernel has done it, and never answers. */
  'time-out': 110,
  /** The first half of a batch is done, and no answer comes. */
  'half a batch': 105,
} as const;
export type Way = keyof typeof WAYS;

let calls = 0;
let fault: { readonly at: number; readonly how: Way } | null = null;

/** From now on calls are counted from 1, and one of them fails. */
export function arm(next: typeof fault): void {
  calls = 0;
  fault = next;
}

/** How many there have been. */
export const counted = (): number => calls;

/** Counts one call. How it has to fail; null when it has not. */
export function failing(): Way | null {
  calls++;
  return fault?.at === calls ? fault.how : null;
}
