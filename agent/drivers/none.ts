import type { LocalDriver } from './driver.ts';

/** A namespace of its own with loopback only. */
export const none: LocalDriver = {
  name: 'none',
  scope: 'local',
  predefined: true,
  addressed: false,
  routed: false,
  exclusive: 'none',
  publishes: false,
  options: {},
  leadsOut: () => false,
  mtuOf: () => null,
  plan: () => ({}),
  planLeg: () => ({}),
};
