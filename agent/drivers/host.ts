import type { LocalDriver } from './driver.ts';

/** The host's own network stack: its sandboxes are in the host's namespace, and nothing is made for them. */
export const host: LocalDriver = {
  name: 'host',
  scope: 'local',
  predefined: true,
  addressed: false,
  routed: false,
  exclusive: 'host',
  publishes: false,
  options: {},
  leadsOut: () => false,
  mtuOf: () => null,
  plan: () => ({}),
  planLeg: () => ({}),
};
