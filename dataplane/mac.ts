import { randomBytes } from 'node:crypto';
import { type Mac, must, parseMac } from './values.ts';

/** Unicast and locally administered (IEEE 802 bits of the first octet). Random: a MAC made from an IP outlives its owner in FDBs. */
export function randomMac(): Mac {
  const bytes = randomBytes(6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return must(parseMac(bytes.toString('hex').replace(/..(?=.)/g, '$&:')));
}
