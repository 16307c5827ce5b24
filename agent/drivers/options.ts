import type { Parsed } from '../../dataplane/values.ts';
import { mtuOption, mtuOptionShort } from '../mtu.ts';
import type { Driver } from './driver.ts';

/** Options of a network by their whole names. One that its driver does not know is refused, so that none is silently without effect. */
export function parseOptions(
  driver: Driver,
  given: { readonly [key: string]: string },
): Parsed<{ readonly [key: string]: string }> {
  const options = new Map<string, string>();
  for (const [key, value] of Object.entries(given)) {
    const name = key === mtuOptionShort ? mtuOption : key;
    const lack = Object.hasOwn(driver.lacks ?? {}, name) ? driver.lacks?.[name] : undefined;
    if (lack !== undefined) return { ok: false, reason: `network option ${key}: ${lack}` };
    const reasonOf = Object.hasOwn(driver.options, name) ? driver.options[name] : driver.anyOption;
    if (reasonOf === undefined) {
      const known = Object.keys(driver.options).flatMap((each) =>
        each === mtuOption ? [each, mtuOptionShort] : [each],
      );
      const list = known.length === 0 ? 'it has none' : `the options are ${known.join(', ')}`;
      return { ok: false, reason: `network option ${key} is not known to driver ${driver.name}: ${list}` };
    }
    const reason = reasonOf(value);
    if (reason !== null) return { ok: false, reason: `${key}=${value}: ${reason}` };
    if (options.has(name)) return { ok: false, reason: `${name} is given twice, as that and as ${mtuOptionShort}` };
    options.set(name, value);
  }
  return { ok: true, value: Object.fromEntries(options) };
}
