/**
 * The default resolver in Docker's daemon.json, as edits of its text: what else is there stays as it was written, and what
 * was added can be taken out again without a trace. https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file
 */

/** What `withResolver` did to a file, to be undone. */
export interface Ours {
  /** The entry of `dns`. */
  readonly address: string;
  /** There was no `dns` before. */
  readonly madeKey: boolean;
  /** There was no file before. */
  readonly madeFile: boolean;
}

export type Change =
  | { readonly ok: true /** null: no file. */; readonly text: string | null; readonly ours: Ours | null }
  | { readonly ok: false; readonly reason: string };

/**
 * Makes `address` the first of the default resolvers. An entry of ours with another address goes.
 * @param text of the file; null: there is none
 */
export function withResolver(text: string | null, address: string, ours: Ours | null): Change {
  const parsed = parse(text ?? '');
  if (!parsed.ok) return parsed;
  const isFound = ours !== null && parsed.dns.includes(ours.address);
  // What somebody else put there is not ours to take away.
  if (parsed.dns[0] === address) return { ok: true, text, ours: isFound && ours.address === address ? ours : null };
  const base = isFound ? removed(parsed, ours).text : parsed.text;
  const madeKey = dnsMember(base) === null;
  return {
    ok: true,
    text: madeKey ? withMember(base, `"dns": [${JSON.stringify(address)}]`) : withFirst(base, address),
    ours: {
      address,
      madeKey: madeKey || (isFound && ours.madeKey),
      madeFile: text === null || (isFound && ours.madeFile),
    },
  };
}

/** Takes our entry out again, with what was made for it and holds nothing else. */
export function withoutResolver(text: string | null, ours: Ours): Change {
  if (text === null) return { ok: true, text, ours: null };
  const parsed = parse(text);
  if (!parsed.ok) return parsed;
  if (!parsed.dns.includes(ours.address)) return { ok: true, text, ours: null };
  const left = removed(parsed, ours);
  return { ok: true, text: left.isEmpty && ours.madeFile ? null : left.text, ours: null };
}

/** The default resolvers that a file names, as far as it can be read. */
export function resolversIn(text: string | null): readonly string[] {
  const parsed = parse(text ?? '');
  return parsed.ok ? parsed.dns : [];
}

interface Parsed {
  readonly ok: true;
  readonly text: string;
  readonly dns: readonly string[];
}

/** An empty file is `{}` to Docker since 23.0. */
function parse(given: string): Parsed | { readonly ok: false; readonly reason: string } {
  const text = given.trim() === '' ? '{}\n' : given;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { ok: false, reason: `it is no JSON: ${(error as Error).message}` };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return { ok: false, reason: 'it is no JSON object' };
  }
  if (childrenOf(text, text.indexOf('{')).items.filter((item) => memberOf(text, item).key === 'dns').length > 1) {
    return { ok: false, reason: 'it has "dns" more than once' };
  }
  const dns: unknown = (value as { dns?: unknown }).dns ?? (Object.hasOwn(value, 'dns') ? null : []);
  if (!Array.isArray(dns) || !dns.every((entry) => typeof entry === 'string')) {
    return { ok: false, reason: '"dns" is no list of addresses' };
  }
  return { ok: true, text, dns };
}

/** Of a text, from its first character to the one behind its last. */
interface Span {
  readonly start: number;
  readonly end: number;
}

interface Children {
  readonly open: number;
  readonly items: readonly Span[];
  readonly close: number;
}

/** Members or elements of the object or array that begins at `open`, without blanks and commas. The text is valid JSON. */
function childrenOf(text: string, open: number): Children {
  const items: Span[] = [];
  let [depth, start, end] = [0, -1, -1];
  for (let at = open + 1; ; at = Math.max(at + 1, end)) {
    const char = text.charAt(at);
    if (depth === 0 && (char === ',' || char === '}' || char === ']')) {
      if (start !== -1) items.push({ start, end });
      start = -1;
      if (char !== ',') return { open, items, close: at };
    } else if (!/\s/.test(char)) {
      if (start === -1) start = at;
      end = char === '"' ? stringEnd(text, at) : at + 1;
      if (char === '{' || char === '[') depth += 1;
      if (char === '}' || char === ']') depth -= 1;
    }
  }
}

function stringEnd(text: string, start: number): number {
  let at = start + 1;
  while (text.charAt(at) !== '"') at += text.charAt(at) === '\\' ? 2 : 1;
  return at + 1;
}

function memberOf(text: string, { start }: Span): { readonly key: string; readonly value: number } {
  const end = stringEnd(text, start);
  const colon = text.indexOf(':', end);
  return { key: JSON.parse(text.slice(start, end)) as string, value: colon + 1 + text.slice(colon + 1).search(/\S/) };
}

/** The top-level "dns": its place in the object, and its elements. */
function dnsMember(text: string): { readonly all: Children; readonly at: number; readonly list: Children } | null {
  const all = childrenOf(text, text.indexOf('{'));
  const at = all.items.findIndex((item) => memberOf(text, item).key === 'dns');
  const item = all.items[at];
  return item === undefined ? null : { all, at, list: childrenOf(text, memberOf(text, item).value) };
}

function withMember(text: string, member: string): string {
  const { open, items, close } = childrenOf(text, text.indexOf('{'));
  const [first, last] = [items[0], items.at(-1)];
  if (first === undefined || last === undefined) {
    const blank = text.slice(open + 1, close);
    const end = blank.includes('\n') ? blank : '\n';
    return `${text.slice(0, open + 1)}\n  ${member}${end}${text.slice(close)}`;
  }
  return `${text.slice(0, last.end)},${lead(text, open, first)}${member}${text.slice(last.end)}`;
}

function withFirst(text: string, address: string): string {
  const list = dnsMember(text)?.list;
  if (list === undefined) throw new Error('there is no "dns"');
  const entry = JSON.stringify(address);
  const first = list.items[0];
  if (first === undefined) return `${text.slice(0, list.open + 1)}${entry}${text.slice(list.open + 1)}`;
  return `${text.slice(0, first.start)}${entry},${lead(text, list.open, first)}${text.slice(first.start)}`;
}

/** What stands before each item, where they have lines of their own. */
function lead(text: string, open: number, first: Span): string {
  const blank = text.slice(open + 1, first.start);
  return blank.includes('\n') ? blank : ' ';
}

function removed(
  { text, dns }: Parsed,
  { address, madeKey }: Ours,
): { readonly text: string; readonly isEmpty: boolean } {
  const member = dnsMember(text);
  if (member === null) return { text, isEmpty: false };
  const { all, at, list } = member;
  if (!madeKey || list.items.length > 1) return { text: without(text, list, dns.indexOf(address)), isEmpty: false };
  if (all.items.length > 1) return { text: without(text, all, at), isEmpty: false };
  return { text: text.slice(0, all.open + 1) + text.slice(all.close), isEmpty: true };
}

function without(text: string, { items }: Children, at: number): string {
  const [before, item, after] = [items[at - 1], items[at], items[at + 1]];
  if (item === undefined) return text;
  const start = before?.end ?? item.start;
  const end = before === undefined && after !== undefined ? after.start : item.end;
  return text.slice(0, start) + text.slice(end);
}
