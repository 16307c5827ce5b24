/** Text for people: tables, times, one-line words. */

/** Replaces what could move a terminal's cursor: names and reasons come from other hosts. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '?');
}

/** Same, with line breaks made spaces. */
export function oneLine(text: string): string {
  return printable(text.trim().replace(/\s*[\r\n]+\s*/g, ' '));
}

/** Docker's table: columns padded, three spaces between, no borders, nothing after the last word of a line. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows].map((line) => line.map((cell) => printable(cell)));
  const widths = header.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  return lines
    .map((line) => widths.map((width, column) => (line[column] ?? '').padEnd(width)).join('   '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** `Name:   value` lines, values aligned. */
export function fields(pairs: readonly (readonly [string, string])[], indent = ''): string {
  const width = Math.max(...pairs.map(([name]) => name.length)) + 1;
  return pairs
    .map(([name, value]) => `${indent}${`${name}:`.padEnd(width)}  ${printable(value)}`.trimEnd())
    .map((line) => `${line}\n`)
    .join('');
}

/** A title with indented lines below, after an empty line; nothing when there are no lines. */
export function section(title: string, lines: readonly string[]): string {
  if (lines.length === 0) return '';
  return `\n${title}:\n${lines.map((line) => `  ${oneLine(line)}\n`).join('')}`;
}

/** First 12 characters, as Docker shows ids. */
export function shortId(id: string): string {
  return id.slice(0, 12);
}

/** Node ids all start with the same 8 characters (`12D3KooW`), so they need 20 to tell as much as others in 12. */
export function shortNodeId(id: string): string {
  return id.slice(0, 20);
}

/** `1 node`, `2 nodes`. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

/** A span of time in Docker's words (go-units `HumanDuration`). */
export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return 'Less than a second';
  if (seconds < 60) return count(seconds, 'second');
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.floor(seconds / 3600 + 0.5);
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  const days = Math.floor(hours / 24);
  if (days < 14) return `${days} days`;
  if (days < 60) return `${Math.floor(days / 7)} weeks`;
  if (days < 730) return `${Math.floor(days / 30)} months`;
  return `${Math.floor(days / 365)} years`;
}

/** `2 minutes ago`, `in 4 seconds`; empty for an absent or unreadable time. */
export function relative(iso: string, nowMs: number): string {
  const at = Date.parse(iso);
  if (Number.isNaN(at)) return '';
  // Clocks of two hosts differ a little: what lies just ahead has just happened.
  return at <= nowMs + 1000 ? `${duration(nowMs - at)} ago` : `in ${lowerFirst(duration(at - nowMs))}`;
}

/** `120 ms`, `2.4 s`. */
export function elapsed(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 100) / 10} s`;
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
