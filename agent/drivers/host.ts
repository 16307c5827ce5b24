import { type LocalDriver, withoutInterfaces } from './driver.ts';

/** The host's own network stack: its sandboxes are in the host's namespace, and nothing is made for them. */
export const host: LocalDriver = { ...withoutInterfaces, name: 'host', exclusive: 'host' };
