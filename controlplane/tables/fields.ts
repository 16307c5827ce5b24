import { z } from 'zod';
import { isIpv4, parseSpace } from '../addresses.ts';
import { maxCounter } from './clock.ts';

// Fields that several kinds of records have.

export const count = z.int().min(0);
export const timestamp = z.tuple([count, count.max(maxCounter)]);
export const name = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/, 'not a name');

// One spelling each (no leading zeros): what two nodes compare or compute with must read the same to both.
export const ipv4 = z.string().max(15).refine(isIpv4, 'not an IPv4 address');
// As ipaddr.js writes it (RFC 5952).
export const ipv6 = z
  .string()
  .max(39)
  .refine((value) => value.includes(':') && parseSpace(`${value}/128`) !== null, 'not an IPv6 address');
