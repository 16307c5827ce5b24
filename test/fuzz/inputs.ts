import { ControlPlaneError } from '../../controlplane/errors.ts';
import type { Prng } from '../sim/prng.ts';
import type { Fate, Target } from './engine.ts';
import { jsonOf, mutateBytes, mutateValue, noise, packed } from './mutate.ts';

/** Inputs of one form: those that an honest sender makes, and how others are made from them. */
export type Inputs = Pick<Target, 'valid' | 'make'>;

/** Inputs of msgpack: valid values with parts exchanged, valid bytes with edits, noise. */
export const msgpackInputs = (values: readonly unknown[]): Inputs => ({
  valid: values.map(packed),
  make: (random) => msgpackOf(random, values),
});

/** Same, of JSON text. */
export const jsonInputs = (values: readonly unknown[]): Inputs => ({
  valid: values.map(jsonOf),
  make: (random) => jsonTextOf(random, values),
});

/** Same, of bytes without a structure that we know how to change. */
export const byteInputs = (valid: readonly Uint8Array[]): Inputs => ({
  valid,
  make: (random) => bytesOf(random, valid),
});

export function msgpackOf(random: Prng, values: readonly unknown[]): Uint8Array {
  const valid = random.pick(values);
  if (random.chance(0.55)) return packed(mutateValue(random, valid));
  return random.chance(0.9) ? mutateBytes(random, packed(valid), values.map(packed)) : noise(random);
}

export function jsonTextOf(random: Prng, values: readonly unknown[]): string {
  const valid = random.pick(values);
  if (random.chance(0.7)) return jsonOf(mutateValue(random, valid));
  const bytes = random.chance(0.9) ? mutateBytes(random, Buffer.from(jsonOf(valid)), []) : noise(random);
  return Buffer.from(bytes).toString('utf8');
}

export const bytesOf = (random: Prng, valid: readonly Uint8Array[]): Uint8Array =>
  random.chance(0.9) ? mutateBytes(random, random.pick(valid) ?? new Uint8Array(), valid) : noise(random);

/** Runs a decoder that may refuse by an Error whose message matches. @returns null when it did */
export async function mayRefuse<T>(refusal: RegExp, work: () => T | Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error && refusal.test(error.message)) return null;
    throw error;
  }
}

/** Runs what may end by a ControlPlaneError, or by an Error that says what the pattern says. @returns null when it did */
export async function documented<T>(pattern: RegExp | null, work: () => T | Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ControlPlaneError || (error instanceof Error && pattern?.test(error.message))) return null;
    throw error;
  }
}

/** Of a decoder with one check only. */
export const takenIf = (taken: boolean): Fate => (taken ? 'taken' : 'refused');
