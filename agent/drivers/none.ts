import { type LocalDriver, withoutInterfaces } from './driver.ts';

/** A namespace of its own with loopback only. */
export const none: LocalDriver = { ...withoutInterfaces, name: 'none', exclusive: 'none' };
