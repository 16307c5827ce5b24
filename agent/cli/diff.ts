import { printable } from './text.ts';

/** Lines around a change. */
const around = 3;

/**
 * Unified diff of a small file, in one hunk: nothing when both are the same.
 * @param before null: there is no file; `after` likewise
 */
export function unifiedDiff(path: string, before: string | null, after: string | null): string {
  if (before === after) return '';
  const [old, now] = [linesOf(before), linesOf(after)];
  const shorter = Math.min(old.length, now.length);
  let head = 0;
  while (head < shorter && old[head] === now[head]) head += 1;
  let tail = 0;
  while (tail < shorter - head && old.at(-1 - tail) === now.at(-1 - tail)) tail += 1;
  const from = Math.max(0, head - around);
  const kept = Math.max(0, tail - around);
  const [oldEnd, nowEnd] = [old.length - tail, now.length - tail];
  return [
    `--- ${before === null ? '/dev/null' : path}\n+++ ${after === null ? '/dev/null' : path}\n`,
    `@@ -${range(from, old.length - kept)} +${range(from, now.length - kept)} @@\n`,
    ...old.slice(from, head).map((line) => shown(' ', line)),
    ...old.slice(head, oldEnd).map((line) => shown('-', line)),
    ...now.slice(head, nowEnd).map((line) => shown('+', line)),
    ...old.slice(oldEnd, old.length - kept).map((line) => shown(' ', line)),
  ].join('');
}

/** Each with its line end, if it has one. */
const linesOf = (text: string | null): string[] => text?.match(/[^\n]*\n|[^\n]+$/g) ?? [];

/** A range without lines is named by the one before it. */
function range(from: number, end: number): string {
  const length = end - from;
  return `${length === 0 ? from : from + 1}${length === 1 ? '' : `,${length}`}`;
}

function shown(mark: string, line: string): string {
  const text = line
    .replace(/\r?\n$/, '')
    .split('\t')
    .map(printable)
    .join('\t');
  return `${mark}${text}\n${line.endsWith('\n') ? '' : '\\ No newline at end of file\n'}`;
}
