import { setFlagsFromString } from 'node:v8';

/**
 * Keeps the heap close to what lives in it. By default V8 lets it grow to twice that or more before it collects, and its
 * young generation to 32 MB, which it gives back after half a minute of rest at the earliest: while 100,000 records came,
 * that and buffers that waited to be collected were 200 MB. The price is some processor time while records come by the
 * thousand. To be called when the program is loaded.
 */
export function keepHeapSmall(): void {
  // What V8 may add, in percent of what lives, before it collects again; at least 8 MB.
  setFlagsFromString('--heap-growing-percent=20');
  // The young generation stays as it is: loading the program has made it 4 to 8 MB, and with 2 MB collecting takes twice
  // the time. (`--max-semi-space-size` would say the same, but counts on the command line only.)
  setFlagsFromString('--semi-space-growth-factor=1');
  // When the program comes to rest it collects once, not again and again in the hope of more: a third of the processor
  // time of an agent that has nothing to do.
  setFlagsFromString('--memory-reducer-single-gc');
}
