import * as z from 'zod/mini';

// Shapes of the CNI specification (SPEC.md, section 1) and of its conventions (CONVENTIONS.md): keys that we know are
// held to their type, others are somebody else's. zod/mini, since all of zod takes longer to load than an ADD's parsing.

// libcni, utils.ValidateNetworkName and ValidateContainerID.
const cniName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;
// Docker's rule, as the local API has it.
const dnsName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;

export const containerId = z.string().check(z.regex(cniName, 'want letters, digits, _ . or -'), z.maxLength(255));
export const networkName = containerId;
export const alias = z.string().check(z.regex(dnsName, 'want 1 to 63 letters, digits, _ . or -'));

const texts = (most: number) => z.array(z.string().check(z.maxLength(256))).check(z.maxLength(most));
const port = z.int().check(z.minimum(0), z.maximum(65_535));

export const PortMapping = z.looseObject({
  /** 0: not asked to be published. */
  hostPort: z._default(port, 0),
  containerPort: port.check(z.minimum(1)),
  protocol: z._default(z.string().check(z.maxLength(8)), 'tcp'),
  hostIP: z._default(z.string().check(z.maxLength(45)), ''),
});

const Addresses = { ips: z.optional(texts(8)), mac: z.optional(z.string().check(z.maxLength(17))) };

const Dns = z.looseObject({
  nameservers: z.optional(texts(64)),
  domain: z.optional(z.string().check(z.maxLength(256))),
  search: z.optional(texts(64)),
  options: z.optional(texts(64)),
});

/** `prevResult`, of any version that is spoken. */
export const Result = z.looseObject({
  interfaces: z.optional(
    z
      .array(
        z.looseObject({
          name: z.string().check(z.maxLength(64)),
          mac: z.optional(z.string().check(z.maxLength(64))),
          sandbox: z.optional(z.string().check(z.maxLength(4096))),
        }),
      )
      .check(z.maxLength(256)),
  ),
  ips: z.optional(
    z
      .array(
        z.looseObject({
          interface: z.optional(z.nullable(z.int())),
          address: z.string().check(z.maxLength(64)),
        }),
      )
      .check(z.maxLength(256)),
  ),
});
export type Result = z.infer<typeof Result>;

export const NetworkConfig = z.looseObject({
  /** Of the configuration, as the runtime knows it. */
  name: networkName,
  type: z.string().check(z.minLength(1), z.maxLength(255)),
  /** Weft network, by name or id. @default name */
  network: z.optional(z.string().check(z.regex(cniName, 'want a name, an id or the start of an id'), z.maxLength(64))),
  /** Of the agent. sun_path of unix(7) is 108 bytes with its end. */
  socket: z.optional(z.string().check(z.regex(/^\/[^\0]+$/, 'want an absolute path'), z.maxLength(107))),
  ipam: z.optional(z.looseObject({ type: z.optional(z.string()) })),
  dns: z.optional(Dns),
  args: z.optional(z.looseObject({ cni: z.optional(z.looseObject(Addresses)) })),
  runtimeConfig: z.optional(
    z.looseObject({
      ...Addresses,
      portMappings: z.optional(z.array(PortMapping).check(z.maxLength(256))),
      /** By name of the configuration. */
      aliases: z.optional(z.record(z.string(), z.array(alias).check(z.maxLength(16)))),
      dns: z.optional(
        z.looseObject({
          servers: z.optional(texts(64)),
          searches: z.optional(texts(64)),
          options: z.optional(texts(64)),
        }),
      ),
    }),
  ),
  prevResult: z.optional(z.nullable(Result)),
  /** GC: null is Go's empty list. */
  'cni.dev/valid-attachments': z.optional(
    z.nullable(z.array(z.looseObject({ containerID: z.string(), ifname: z.string() })).check(z.maxLength(65_536))),
  ),
});
export type NetworkConfig = z.infer<typeof NetworkConfig>;
