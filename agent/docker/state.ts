import { z } from 'zod';
import { isNetworkId, type NetworkId } from '../../controlplane/ids.ts';
import { AskedPorts } from '../../controlplane/tables/services.ts';
import { parseIp, parseMac, parseNetnsPath } from '../../dataplane/values.ts';
import { type StoredLeg, storedLeg, textOf } from '../sandbox-state.ts';
import { dockerId } from './protocol.ts';

/** A network of the cluster as this host's Docker has it. */
export interface MirroredNetwork {
  /** Docker's id, 64 hex digits. */
  readonly id: string;
  readonly networkId: NetworkId;
  /** Made by a user of Docker with our addresses: the cluster is yet to have it. */
  readonly awaited?: true | undefined;
}

/** An endpoint that Docker made on a network of the cluster. It names interface and addresses in the container itself. */
export interface DockerEndpoint {
  /** Its `ifName` is where the inner end waits on the host. */
  readonly leg: StoredLeg;
  /** Namespace of the container that it is joined to (Docker's SandboxKey); null while it is to none. */
  readonly netns: string | null;
  /** Docker was told that the interface is there. */
  readonly taken: boolean;
  /** Of the container, as far as Docker has said. */
  readonly name: string;
  /** Id of the container, as far as Docker has said. */
  readonly container: string | null;
  /** Names may lead to it. */
  readonly ready: boolean;
  /** Ports that the container serves, `80/tcp`. */
  readonly ports: readonly string[];
  /** What is to be published while it runs. */
  readonly asks: AskedPorts | null;
}

/** An address that Docker was given, whether an endpoint has it by now or not. */
export interface DockerAddress {
  readonly networkId: NetworkId;
  readonly ip: string;
  readonly createdMs: number;
  /** Docker asked for this one, as for a container with `--ip`, which will ask again when it is restarted. */
  readonly asked: boolean;
  /** Since when Docker does not have it any more; null while it has. */
  readonly freedMs: number | null;
  /** Of the endpoint that had it last: the same again, or others would go on sending to the old one. */
  readonly mac: string | null;
}

const networkId = z.custom<NetworkId>((id) => typeof id === 'string' && isNetworkId(id));

export const StoredNetwork = z.object({ id: dockerId, networkId, awaited: z.literal(true).optional() });
export const StoredEndpoint = z.object({
  leg: storedLeg,
  netns: textOf(parseNetnsPath).nullable(),
  taken: z.boolean(),
  name: z.string(),
  // Rows of before containers said so have neither.
  ready: z.boolean().default(true),
  ports: z.array(z.string()).default([]),
  container: dockerId.nullable().default(null),
  asks: AskedPorts.nullable().default(null),
});
export const StoredAddress = z.object({
  networkId,
  ip: textOf(parseIp),
  createdMs: z.number(),
  asked: z.boolean(),
  freedMs: z.number().nullable(),
  mac: textOf(parseMac).nullable(),
});
