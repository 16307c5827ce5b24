import { z } from 'zod';
import { maxCounter } from './clock.ts';

// Fields that several kinds of records have.

export const count = z.int().min(0);
export const timestamp = z.tuple([count, count.max(maxCounter)]);
export const name = z.string().regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/, 'not a name');
