import { z } from 'zod';
import { addresses, isoTime, labels, name, reference, wantedAddresses, wantedInterface } from './fields.ts';

export const SandboxCreateRequest = z.strictObject({
  Name: name.optional(),
  Networks: z.array(reference).max(16).default([]),
  /** Adopt the namespace at this path. */
  NetnsPath: z.string().max(255).optional(),
  /** Adopt the namespace of this process. */
  Pid: z.int().min(1).max(4194304).optional(),
  Aliases: z.array(name).max(16).optional(),
  /** With one network only. */
  ...wantedAddresses,
  ...wantedInterface,
  Labels: labels.optional(),
  /** In its /etc/hostname and /etc/hosts; its name when absent. */
  Hostname: z.string().max(256).optional(),
  /** For its /etc/resolv.conf, each list: the agent's configuration, else the host's own, when absent or empty. */
  Dns: z.array(z.string().max(256)).max(64).optional(),
  /** `.` alone: none. */
  DnsSearch: z.array(z.string().max(256)).max(64).optional(),
  DnsOptions: z.array(z.string().max(256)).max(64).optional(),
  /** Ports to publish, each as Docker's command line has it: `[IP:][HOSTPORT[-LAST]:]PORT[-LAST][/PROTOCOL]`. */
  Publish: z.array(z.string().min(1).max(128)).max(256).optional(),
});
export type SandboxCreateRequest = z.infer<typeof SandboxCreateRequest>;

export const Endpoint = z.strictObject({
  ID: z.string(),
  Network: z.string(),
  NetworkID: z.string(),
  /** Sandbox name, as its own node announced it. */
  Name: z.string(),
  SandboxID: z.string(),
  Node: z.string(),
  NodeID: z.string(),
  ...addresses,
  MacAddress: z.string(),
  /** VTEP of the endpoint's node. */
  VTEP: z.string(),
  Aliases: z.array(z.string()),
  /** Names lead to it; not to a container that Docker does not find healthy, where `weft.dns=healthy` asks for that. */
  Ready: z.boolean(),
  /** What it serves as far as it says, `80/tcp`. */
  Ports: z.array(z.string()),
  Local: z.boolean(),
});
export type Endpoint = z.infer<typeof Endpoint>;

export const SandboxEndpoint = z.strictObject({
  Network: z.string(),
  NetworkID: z.string(),
  EndpointID: z.string(),
  /** Empty, and so are the next two, on a network that makes none: host, none. */
  Interface: z.string(),
  ...addresses,
  MacAddress: z.string(),
  /** Names there besides the own one and the host name. */
  Aliases: z.array(z.string()),
  /** `ok`, or why the kernel does not have it yet. */
  Status: z.string(),
});

export const Sandbox = z.strictObject({
  ID: z.string(),
  Name: z.string(),
  Created: isoTime,
  NetnsPath: z.string(),
  /** True when the namespace was there before and outlives the sandbox. */
  Adopted: z.boolean(),
  /** False when an adopted namespace is gone: nothing of the sandbox is in the kernel any more. */
  NetnsPresent: z.boolean(),
  Labels: z.record(z.string(), z.string()),
  Hostname: z.string(),
  /** As they were asked for; where a list is empty, the files say what the configuration or the host says. */
  Dns: z.array(z.string()),
  DnsSearch: z.array(z.string()),
  DnsOptions: z.array(z.string()),
  /** Files of the host that belong over /etc/hostname, /etc/hosts and /etc/resolv.conf in the sandbox. */
  HostnamePath: z.string(),
  HostsPath: z.string(),
  ResolvConfPath: z.string(),
  Networks: z.array(SandboxEndpoint),
  /** Published ports by port and protocol, `80/tcp`, as Docker has them. */
  Ports: z.record(z.string(), z.array(z.strictObject({ HostIp: z.string(), HostPort: z.string() }))),
  /** Leg on docker_gwbridge; null when no network of the cluster leads out, or one of this host does. */
  Gateway: z.strictObject({ Interface: z.string(), IPv4Address: z.string(), Gateway: z.string() }).nullable(),
});
export type Sandbox = z.infer<typeof Sandbox>;
