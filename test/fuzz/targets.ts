import type { Prng } from '../sim/prng.ts';
import type { Target } from './engine.ts';
import { jsonOf, mutateBytes, mutateValue, noise, packed } from './mutate.ts';
import { hostTargets } from './targets-host.ts';
import { meshTargets } from './targets-mesh.ts';

/** All decoders of bytes that others wrote: members, strangers, the disk, local users. */
export const makeTargets = async (): Promise<Target[]> => [...(await meshTargets()), ...(await hostTargets())];

/** Inputs of msgpack: valid values with parts exchanged, valid bytes with edits, noise. */
export function msgpackOf(random: Prng, values: readonly unknown[]): Uint8Array {
  const valid = random.pick(values);
  if (random.chance(0.55)) return packed(mutateValue(random, valid));
  return random.chance(0.9) ? mutateBytes(random, packed(valid), values.map(packed)) : noise(random);
}

/** Same, of JSON text. */
export function jsonTextOf(random: Prng, values: readonly unknown[]): string {
  const valid = random.pick(values);
  if (random.chance(0.7)) return jsonOf(mutateValue(random, valid));
  const bytes = random.chance(0.9) ? mutateBytes(random, Buffer.from(jsonOf(valid)), []) : noise(random);
  return Buffer.from(bytes).toString('utf8');
}

/** Same, of bytes without a structure that we know how to change. */
export const bytesOf = (random: Prng, valid: readonly Uint8Array[]): Uint8Array =>
  random.chance(0.9) ? mutateBytes(random, random.pick(valid) ?? new Uint8Array(), valid) : noise(random);

/** Runs a decoder that may refuse by an Error whose message matches. */
export async function mayRefuse<T>(refusal: RegExp, work: () => T | Promise<T>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Error && refusal.test(error.message)) return null;
    throw error;
  }
}
