import { createHash, randomBytes } from 'node:crypto';
import { z } from 'zod';

/** Where the addresses of a local network come from. */
export interface LocalIpam {
  readonly subnet: string;
  readonly gateway: string;
  /** The part that addresses are taken from unless one is asked for. */
  readonly ipRange: string | null;
  /** Addresses that others hold, by name. */
  readonly aux: { readonly [name: string]: string };
}

/** A network of this host alone, in no table; what the store keeps of it. */
export interface LocalNetwork {
  /** 64 hex digits, as Docker's ids of local networks; those of the cluster's have 25 of base36. */
  readonly id: string;
  readonly name: string;
  /** Name of its driver (index.ts). */
  readonly driver: string;
  readonly createdMs: number;
  readonly internal: boolean;
  readonly options: { readonly [key: string]: string };
  readonly labels: { readonly [key: string]: string };
  /** null: its endpoints have no addresses. */
  readonly ipam: LocalIpam | null;
}

export const isLocalNetworkId = (text: string): boolean => /^[0-9a-f]{64}$/.test(text);
export const newLocalNetworkId = (): string => randomBytes(32).toString('hex');

const texts = z.record(z.string(), z.string());
const Stored = z.object({
  ...{ id: z.string().refine(isLocalNetworkId), name: z.string(), driver: z.string(), createdMs: z.number() },
  ...{ internal: z.boolean(), options: texts, labels: texts },
  ipam: z.object({ subnet: z.cidrv4(), gateway: z.ipv4(), ipRange: z.cidrv4().nullable(), aux: texts }).nullable(),
});

/** Reads a row of the store. @returns null for what is no network */
export function parseLocalNetwork(value: unknown): LocalNetwork | null {
  const parsed = Stored.safeParse(value);
  return parsed.success ? parsed.data : null;
}

/** A network that every host has; its id is the same on all of them, and it is in no store. */
export const predefined = (driver: string): LocalNetwork => ({
  id: createHash('sha256').update(`weft predefined network ${driver}`).digest('hex'),
  name: driver,
  driver,
  createdMs: 0,
  internal: false,
  options: {},
  labels: {},
  ipam: null,
});
