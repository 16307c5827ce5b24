import { InvalidArgumentError } from 'commander';

/** Parsers for commander: they throw what it turns into a usage error that names the option. */

/** Whole numbers from `min` to `max`. */
export function whole(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Want a whole number from ${min} to ${max}.`);
  };
}

/** A TCP or UDP port. */
export const port = whole(1, 65535);

/** Seconds, whole or not. */
export function seconds(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (value <= 3600) return value;
  throw new InvalidArgumentError('Want a number of seconds from 0 to 3600.');
}

const unitMs: { readonly [unit: string]: number } = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1 };

/** A span of time as Docker writes it (Go's ParseDuration): `2160h`, `1h30m`, `90s`. In milliseconds. */
export function duration(text: string): number {
  const parts = [...text.matchAll(/(\d{1,9}(?:\.\d{1,3})?)(ms|h|m|s)/g)];
  const whole = parts.map(([part]) => part).join('');
  if (text !== '' && whole === text)
    return parts.reduce((sum, [, value, unit = '']) => sum + Number(value) * (unitMs[unit] ?? 0), 0);
  throw new InvalidArgumentError('Want a span of time such as 2160h, 1h30m or 90s.');
}

/** The same, or `none` and `0` for no such span; milliseconds, 0 for none. */
export const durationOrNone = (text: string): number => (text === 'none' || text === '0' ? 0 : duration(text));

/** Collects the values of a repeatable option. */
export function collect(text: string, previous: readonly string[] = []): string[] {
  return [...previous, text];
}

/** An option that can be given once: the last of several must not win unseen. */
export function once(text: string, previous?: string): string {
  if (previous === undefined) return text;
  throw new InvalidArgumentError('It can be given only once.');
}

/** Collects `KEY=VALUE`. */
export function keyValue(text: string, previous: Readonly<Record<string, string>> = {}): Record<string, string> {
  const at = text.indexOf('=');
  if (at > 0) return add(previous, text.slice(0, at), text.slice(at + 1));
  throw new InvalidArgumentError('Want KEY=VALUE.');
}

/** Collects `KEY=VALUE` or, as Docker's labels may be, `KEY` alone. */
export function label(text: string, previous: Readonly<Record<string, string>> = {}): Record<string, string> {
  return keyValue(text.includes('=') ? text : `${text}=`, previous);
}

function add(previous: Readonly<Record<string, string>>, key: string, value: string): Record<string, string> {
  // Assignment would give `__proto__` its special meaning; fromEntries makes it a key like any other.
  return Object.fromEntries([...Object.entries(previous), [key, value]]);
}

/** Path of the socket in `--host` or WEFT_HOST: a path, or a `unix://` URL as Docker writes it; else why not. */
export function socketPath(text: string): { ok: true; path: string } | { ok: false; reason: string } {
  const path = text.startsWith('unix://') ? text.slice('unix://'.length) : text;
  if (path === '' || /^[a-z][a-z0-9+.-]*:\/\//.test(path)) {
    return {
      ok: false,
      reason: 'want the path of a unix socket, as /run/weft/weft.sock or unix:///run/weft/weft.sock',
    };
  }
  // sun_path of unix(7) is 108 bytes with its end.
  if (Buffer.byteLength(path) > 107)
    return { ok: false, reason: 'the path of a unix socket is at most 107 bytes long' };
  return { ok: true, path };
}
