import { z } from 'zod';
import { type Parsed, parseCidr, parseIfName, parseIp, parseMac, prefixOf } from '../../dataplane/values.ts';
import type { StoredDevice } from '../sandbox-state.ts';

// Answers of a libnetwork remote driver (moby, libnetwork/docs/remote.md and drivers/remote/api).

export const Empty = z.object({}).loose();
export const Activate = z.object({ Implements: z.array(z.string()).max(16) });
export const Capabilities = z.object({ Scope: z.string() });

export const CreateEndpoint = z.object({
  Interface: z
    .object({
      Address: z.string().default(''),
      AddressIPv6: z.string().default(''),
      MacAddress: z.string().default(''),
    })
    .nullable()
    .optional(),
});

export const Join = z.object({
  InterfaceName: z
    .object({ SrcName: z.string(), DstPrefix: z.string().default('eth') })
    .nullable()
    .optional(),
  Gateway: z.string().default(''),
  StaticRoutes: z
    .array(z.object({ Destination: z.string(), RouteType: z.int(), NextHop: z.string().default('') }))
    .max(64)
    .nullable()
    .default([]),
  DisableGatewayService: z.boolean().default(false),
});

/** types.CONNECTED: reached on the link itself. */
const CONNECTED = 1;

/** What the two answers make of an endpoint: its device, how it is called, and its ways; null when there is no device. */
export function deviceOf(
  created: z.output<typeof CreateEndpoint>,
  joined: z.output<typeof Join>,
): Parsed<{ readonly device: StoredDevice; readonly prefix: string } | null> {
  const { Interface: face } = created;
  if (face?.Address || face?.AddressIPv6) {
    return { ok: false, reason: `it gives the address ${face.Address || face.AddressIPv6}, which was given to it` };
  }
  const { InterfaceName: name, Gateway, StaticRoutes, DisableGatewayService } = joined;
  if (!name || name.SrcName === '') return { ok: true, value: null };
  const source = parseIfName(name.SrcName);
  if (!source.ok) return source;
  const first = parseIfName(`${name.DstPrefix}0`);
  if (!first.ok) return first;
  const mac = face?.MacAddress ? parseMac(face.MacAddress) : null;
  if (mac?.ok === false) return mac;
  const gateway = Gateway === '' ? null : parseIp(Gateway);
  if (gateway?.ok === false) return gateway;
  const onLink: string[] = [];
  for (const { Destination, RouteType, NextHop } of StaticRoutes ?? []) {
    if (RouteType !== CONNECTED) {
      return {
        ok: false,
        reason: `it wants a route to ${Destination} by ${NextHop}: only those of the link are supported`,
      };
    }
    const prefix = parseCidr(Destination);
    if (!prefix.ok) return prefix;
    onLink.push(prefixOf(prefix.value));
  }
  const device = {
    source: source.value,
    mac: mac?.value ?? null,
    gateway: gateway?.value ?? null,
    onLink,
    ownWay: DisableGatewayService,
  };
  return { ok: true, value: { device, prefix: name.DstPrefix } };
}
