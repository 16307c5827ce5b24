import type { NetworkId, NodeId } from '../ids.ts';
import type { RingId } from './subnets.ts';

/** Which parts of the view a batch of changes touched. */
export interface Touched {
  readonly nodes: boolean;
  readonly networks: boolean;
  /** A service, which of them has a port, which nodes are drained, or how nodes are labelled. */
  readonly services: boolean;
  /** By network, the names (`OWNER ID`) of endpoints that came, changed, went, or are shown or hidden by now. */
  readonly endpoints: ReadonlyMap<NetworkId, ReadonlySet<string>>;
  readonly rings: ReadonlySet<RingId>;
  /** Networks that a node came to be on, is on no more, or says another MTU of. */
  readonly on: ReadonlySet<NetworkId>;
  readonly removed: readonly NodeId[];
  /** Decisions on roles changed. */
  readonly roles: boolean;
  /** Roots, mesh keys or what nodes have of them. */
  readonly keys: boolean;
  /** Nodes that show a certificate of their own. */
  readonly certificates: ReadonlyMap<NodeId, Uint8Array>;
  /** Removed nodes about whose inheritance something was said. */
  readonly fences: ReadonlySet<NodeId>;
}

export const nothing = {
  nodes: false,
  networks: false,
  services: false,
  removed: [],
  roles: false,
  keys: false,
} as const;
