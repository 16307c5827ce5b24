// Not 'msgpackr' itself: its native reader cuts strings out of a larger one, which each of them then keeps in memory.
import { Packr, Unpackr } from 'msgpackr/pack';

// Plain msgpack without msgpackr's record extension: readable by any implementation, and no state between messages.
const options = { useRecords: false, mapsAsObjects: true, int64AsType: 'number', variableMapSize: true } as const;
const packr = new Packr(options);
const unpackr = new Unpackr(options);

/** msgpack bytes of a plain value. */
export const encode = (value: unknown): Uint8Array => packr.pack(value);

/**
 * @throws Error `not msgpack`, with nothing of the bytes in its text: it may be told to whoever sent them, or logged. The
 * result is of unknown shape
 */
export function decode(bytes: Uint8Array): unknown {
  try {
    return unpackr.unpack(bytes as Buffer);
  } catch {
    throw new Error('not msgpack');
  }
}
