import { Packr, Unpackr } from 'msgpackr';

// Plain msgpack without msgpackr's record extension: readable by any implementation, and no state between messages.
const options = { useRecords: false, mapsAsObjects: true, int64AsType: 'number', variableMapSize: true } as const;
const packr = new Packr(options);
const unpackr = new Unpackr(options);

/** msgpack bytes of a plain value. */
export const encode = (value: unknown): Uint8Array => packr.pack(value);

/** @throws on bytes that are not msgpack; the result is of unknown shape */
export const decode = (bytes: Uint8Array): unknown => unpackr.unpack(bytes as Buffer);
