import { encode } from '../../controlplane/encoding.ts';
import type { Prng } from '../sim/prng.ts';

// What a valid input is turned into: close enough to pass the first checks, wrong enough to meet the later ones.

/** Bytes that decoders take for something special: msgpack's headers, DER's tags and long lengths, line ends, quotes. */
const telling = [0x00, 0x01, 0x0a, 0x22, 0x30, 0x5c, 0x7f, 0x80, 0x82, 0x84, 0x93, 0xa0, 0xc0, 0xc1, 0xc4, 0xc6, 0xc7];
const headers = [0xc9, 0xca, 0xcf, 0xd3, 0xd4, 0xd6, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff];
const maxEdits = 6;
const maxRun = 16;

/** Some edits of the bytes: set, cut, doubled, put in, cut off, or parts of another valid input put in. */
export function mutateBytes(random: Prng, valid: Uint8Array, others: readonly Uint8Array[]): Uint8Array {
  let bytes = Buffer.from(valid);
  for (let left = random.between(1, maxEdits); left > 0; left--) {
    const at = random.between(0, bytes.length);
    const length = random.between(1, maxRun);
    const [before, part, rest] = [
      bytes.subarray(0, at),
      bytes.subarray(at, at + length),
      bytes.subarray(at + length),
    ] as const;
    const other = random.pick(others) ?? valid;
    const from = random.between(0, other.length);
    bytes = Buffer.concat(
      random.pick([
        () => [before, Buffer.of(byte(random)), bytes.subarray(at + 1)],
        () => [before, rest],
        () => [before, part, part, rest],
        () => [before, Buffer.alloc(length, byte(random)), part, rest],
        () => [before, random.bytes(length), part, rest],
        () => [before, other.subarray(from, from + random.between(1, 64)), rest],
        () => [before],
      ])?.() ?? [bytes],
    );
  }
  return bytes;
}

function byte(random: Prng): number {
  if (random.chance(0.5)) return random.between(0, 255);
  return random.pick([...telling, ...headers]) ?? 0;
}

/** Plain data with some of its parts exchanged for others: of another type, too large, too many, too deep. */
export function mutateValue(random: Prng, value: unknown): unknown {
  return random.chance(0.15) ? strange(random) : inside(random, value, 0);
}

function inside(random: Prng, value: unknown, depth: number): unknown {
  if (depth > 8 || random.chance(0.12)) return strange(random, value);
  if (value instanceof Uint8Array) return random.chance(0.3) ? mutateBytes(random, value, []) : value;
  if (Array.isArray(value)) {
    const items = [...(value as unknown[])];
    const at = random.between(0, Math.max(0, items.length - 1));
    const dice = random.next();
    if (dice < 0.2) items.splice(at, 1);
    else if (dice < 0.36) items.splice(at, 0, items[at]);
    else if (items.length > 0) items[at] = inside(random, items[at], depth + 1);
    return items;
  }
  if (typeof value === 'object' && value !== null) {
    const entries = Object.entries(value);
    const at = random.between(0, Math.max(0, entries.length - 1));
    const [name = '', held] = entries[at] ?? [];
    const dice = random.next();
    if (dice < 0.15) entries.splice(at, 1);
    else if (dice < 0.28) entries.push([random.pick(names) ?? '', strange(random)]);
    else entries[at] = [name, inside(random, held, depth + 1)];
    return Object.fromEntries(entries);
  }
  return strange(random, value);
}

const names = ['', '__proto__', 'constructor', 'toString', 'length', 'then', 'toJSON', 'x'];

function strange(random: Prng, value?: unknown): unknown {
  const text = typeof value === 'string' ? value : 'text';
  const makers: readonly (() => unknown)[] = [
    () => null,
    () => random.chance(0.5),
    () =>
      random.pick([
        0,
        -0,
        1,
        -1,
        0.5,
        255,
        2 ** 31,
        2 ** 32,
        2 ** 53,
        1e308,
        Number.NaN,
        Number.POSITIVE_INFINITY,
        -1e9,
      ]),
    () => (typeof value === 'number' ? value + random.between(-2, 2) : 4097),
    () => '',
    () => `${text}\n`,
    () => `${text}\u0000\u2028\ud800"'`,
    () => text.repeat(random.between(2, 40)),
    () => '\uffff'.repeat(random.between(1, 3000)),
    () => text.slice(random.between(0, text.length)),
    () => random.bytes(random.pick([0, 1, 31, 32, 33, 64, 65, 4097]) ?? 0),
    () => Array.from({ length: random.pick([0, 1, 2, 300]) ?? 0 }, () => value ?? 0),
    () => ({ [random.pick(names) ?? '']: value ?? 1 }),
    () => nested(random.pick([10, 200, 2000]) ?? 10),
    () => new Date(random.pick([0, Number.NaN, 8.64e15]) ?? 0),
    () => 2n ** 63n,
    () => new Map([[null, 1]]),
  ];
  return random.pick(makers)?.();
}

function nested(depth: number): unknown {
  let value: unknown = 0;
  for (let left = depth; left > 0; left--) value = left % 2 === 0 ? [value] : { a: value };
  return value;
}

/** Plain data as msgpack; what cannot be encoded becomes nil. */
export function packed(value: unknown): Uint8Array {
  try {
    return encode(value);
  } catch {
    return Uint8Array.of(0xc0);
  }
}

/** Plain data as JSON text; what JSON cannot say is left out or said otherwise. */
export function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? Number(each) : each)) ?? '';
  } catch {
    return 'null';
  }
}

/** Bytes without any form, or with a header of msgpack in front that promises much. */
export function noise(random: Prng): Uint8Array {
  const bytes = random.bytes(random.pick([0, 1, 2, 5, 40, 200, 3000]) ?? 0);
  return random.chance(0.5) ? bytes : Buffer.concat([Buffer.of(random.pick(headers) ?? 0xdd, 0x7f, 0xff, 0xff), bytes]);
}
