import type { Vni } from './values.ts';

// Keys of the status map. An object is what a person would name when asking why something does not work.

/** Our nft table around those bridges, and that the host forwards. */
export const RULES_OBJECT = 'rules';
/** A bridge in the host's namespace. */
export const bridgeObject = (name: string): string => `bridge/${name}`;
/** A device of the host that legs hang on. */
export const parentObject = (name: string): string => `parent/${name}`;
export const GUARD_OBJECT = 'guard';
/** The table for rules of the host's owner. */
export const USER_OBJECT = 'user-rules';
export const OVERLAY_NETNS_OBJECT = 'netns/weft';
export const PORTS_OBJECT = 'ports';
export const CLAMP_OBJECT = 'mss';
export const AGENTS_OBJECT = 'agents';
export const overlayObject = (vni: number | Vni): string => `overlay/${vni}`;
/** What this host leads to backends. */
export const GATE_OBJECT = 'gate';
/** The way back from a backend to all gates. */
export const returnsObject = (sandboxId: string): string => `returns/${sandboxId}`;
/** Where a sandbox's connections to virtual addresses are led. */
export const vipsObject = (sandboxId: string): string => `vips/${sandboxId}`;
export const sandboxObject = (id: string): string => `sandbox/${id}`;
export const endpointObject = (endpointId: string): string => `endpoint/${endpointId}`;
/** An FDB (`what` is a MAC) or neighbour (`what` is an IP) entry of an overlay. Listed only while it fails. */
export const remoteObject = (vni: number | Vni, what: string): string => `remote/${vni}/${what}`;
/** Something of ours that nothing wants any more, by its kernel name. Listed only while its removal fails. */
export const leftoverObject = (name: string): string => `leftover/${name}`;
/** Something of somebody else's in a place of ours; listed as drift, never touched. */
export const foreignObject = (name: string): string => `foreign/${name}`;
