import { z } from 'zod';
import { DockerError } from './errors.ts';

// Docker's Engine API, v1.41 (20.10) to v1.52 (29), https://docs.docker.com/reference/api/engine/. Only what is used
// here, under our names; what Docker leaves out, writes as null or as '' for "none" is told apart no further.

const text = z
  .string()
  .nullish()
  .transform((value) => value ?? '');
const count = z
  .number()
  .nullish()
  .transform((value) => value ?? 0);
const flag = z
  .boolean()
  .nullish()
  .transform((value) => value ?? false);
const texts = z
  .array(z.string())
  .nullish()
  .transform((value) => value ?? []);
/** Docker writes null for an empty object. A Map, because the keys are users' own: `__proto__` is a label as any other. */
const mapOf = <S extends z.ZodType>(shape: S) =>
  z
    .unknown()
    .optional()
    .transform((object, context): ReadonlyMap<string, z.output<S>> => {
      const map = new Map<string, z.output<S>>();
      if (object === null || object === undefined) return map;
      if (typeof object !== 'object' || Array.isArray(object)) {
        context.addIssue({ code: 'custom', message: 'want an object' });
        return map;
      }
      for (const [key, value] of Object.entries(object)) {
        const parsed = shape.safeParse(value);
        if (parsed.success) map.set(key, parsed.data);
        else
          for (const { path, message } of parsed.error.issues) {
            context.addIssue({ code: 'custom', path: [key, ...path], message });
          }
      }
      return map;
    });
const textMap = mapOf(z.string());
const id = z.string().min(1);

export const Version = z
  .object({ Version: text, ApiVersion: z.string(), MinAPIVersion: text })
  .transform((each) => ({ version: each.Version, apiVersion: each.ApiVersion, minApiVersion: each.MinAPIVersion }));

export const Info = z
  .object({
    ID: text,
    Name: text,
    ServerVersion: text,
    LiveRestoreEnabled: flag,
    Swarm: z
      .object({ LocalNodeState: text, ControlAvailable: flag, Error: text })
      .nullish()
      .transform((each) => ({
        /** `inactive`, `pending`, `active`, `locked` or `error`. */
        state: each?.LocalNodeState || 'inactive',
        manager: each?.ControlAvailable ?? false,
        /** Of a manager also why the Swarm does not answer it: without a quorum, say. */
        error: each?.Error ?? '',
      })),
  })
  .transform((each) => ({
    id: each.ID,
    /** Host name. */
    name: each.Name,
    serverVersion: each.ServerVersion,
    liveRestore: each.LiveRestoreEnabled,
    swarm: each.Swarm,
  }));
export type DockerInfo = z.output<typeof Info>;

const Pool = z
  .object({ Subnet: text, IPRange: text, Gateway: text, AuxiliaryAddresses: textMap })
  .transform((each) => ({
    subnet: each.Subnet,
    ipRange: each.IPRange,
    gateway: each.Gateway,
    auxiliary: each.AuxiliaryAddresses,
  }));

export const Network = z
  .object({
    Id: id,
    Name: z.string(),
    Driver: text,
    Scope: text,
    EnableIPv6: flag,
    Internal: flag,
    Attachable: flag,
    Ingress: flag,
    ConfigFrom: z.object({ Network: text }).nullish(),
    IPAM: z
      .object({ Driver: text, Options: textMap, Config: z.array(Pool).nullish() })
      .nullish()
      .transform((each) => ({
        driver: each?.Driver ?? '',
        options: each?.Options ?? new Map<string, string>(),
        pools: each?.Config ?? [],
      })),
    Options: textMap,
    Labels: textMap,
    Containers: mapOf(
      z
        .object({ Name: text, EndpointID: text, MacAddress: text, IPv4Address: text, IPv6Address: text })
        .transform((each) => ({
          name: each.Name,
          endpointId: each.EndpointID,
          mac: each.MacAddress,
          /** With the prefix length; '' for none. */
          ipv4: each.IPv4Address,
          ipv6: each.IPv6Address,
        })),
    ),
  })
  .transform((each) => ({
    id: each.Id,
    name: each.Name,
    driver: each.Driver,
    /** `local`, `global` or `swarm`. */
    scope: each.Scope,
    ipv6: each.EnableIPv6,
    internal: each.Internal,
    attachable: each.Attachable,
    ingress: each.Ingress,
    /** The network of each host that holds its settings; '' for none. */
    configFrom: each.ConfigFrom?.Network ?? '',
    ipam: each.IPAM,
    options: each.Options,
    labels: each.Labels,
    /** By container id. Docker tells them of a network that is inspected, not of one in a list. */
    containers: each.Containers,
  }));
export type DockerNetwork = z.output<typeof Network>;
export const Networks = z.array(Network);

export const Created = z
  .object({ Id: id, Warning: text })
  .transform((each) => ({ id: each.Id, warning: each.Warning }));

const Endpoint = z
  .object({
    NetworkID: text,
    EndpointID: text,
    MacAddress: text,
    IPAddress: text,
    IPPrefixLen: count,
    GlobalIPv6Address: text,
    GlobalIPv6PrefixLen: count,
    Aliases: texts,
    DNSNames: texts,
  })
  .transform((each) => ({
    networkId: each.NetworkID,
    /** '' of a container that does not run. */
    endpointId: each.EndpointID,
    mac: each.MacAddress,
    ipv4: each.IPAddress,
    ipv4Bits: each.IPPrefixLen,
    ipv6: each.GlobalIPv6Address,
    ipv6Bits: each.GlobalIPv6PrefixLen,
    /** As the user gave them, until Docker 24 also the short id of the container. Only of a container that is inspected. */
    aliases: each.Aliases,
    /** All names it has on the network, from Docker 25 on. Only of a container that is inspected. */
    dnsNames: each.DNSNames,
  }));
export type DockerEndpoint = z.output<typeof Endpoint>;

const withoutSlash = (name: string): string => name.replace(/^\//, '');

const ListedContainer = z
  .object({
    Id: id,
    Names: texts,
    Labels: textMap,
    State: text,
    Status: text,
    NetworkSettings: z.object({ Networks: mapOf(Endpoint) }).nullish(),
  })
  .transform((each) => ({
    id: each.Id,
    // Those with a second slash are of the container's legacy links: `/other/alias`.
    name: each.Names.map(withoutSlash).find((name) => !name.includes('/')) ?? '',
    labels: each.Labels,
    /** `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`. */
    state: each.State,
    /** `starting`, `healthy`, `unhealthy`; null where the list does not say: of one without a health check, or that is paused. */
    health: /\((?:health: )?(starting|healthy|unhealthy)\)$/.exec(each.Status)?.[1] ?? null,
    /** By name of the network. */
    networks: each.NetworkSettings?.Networks ?? new Map<string, DockerEndpoint>(),
  }));
export type DockerContainerSummary = z.output<typeof ListedContainer>;
export const ListedContainers = z.array(ListedContainer);

export const Container = z
  .object({
    Id: id,
    Name: text,
    Config: z.object({ Hostname: text, Domainname: text, Labels: textMap, ExposedPorts: mapOf(z.unknown()) }),
    HostConfig: z.object({ PortBindings: mapOf(z.unknown()) }).nullish(),
    State: z.object({
      Status: text,
      Running: flag,
      Pid: count,
      Health: z.object({ Status: text }).nullish(),
    }),
    NetworkSettings: z.object({ SandboxID: text, SandboxKey: text, Networks: mapOf(Endpoint) }),
  })
  .transform((each) => ({
    id: each.Id,
    name: withoutSlash(each.Name),
    hostname: each.Config.Hostname,
    domainname: each.Config.Domainname,
    labels: each.Config.Labels,
    /** `80/tcp`: those that are published, then those that it or its image only says it serves. */
    ports: [...new Set([...(each.HostConfig?.PortBindings.keys() ?? []), ...each.Config.ExposedPorts.keys()])],
    state: each.State.Status,
    /** Also while it is paused. */
    running: each.State.Running,
    /** In the pid namespace that Docker runs in; 0 when it does not run. */
    pid: each.State.Pid,
    /** `starting`, `healthy`, `unhealthy`; `none` without a health check. */
    health: each.State.Health?.Status || 'none',
    sandboxId: each.NetworkSettings.SandboxID,
    /** Path of its network namespace. Of one that does not run it is '', or where it was. */
    sandboxKey: each.NetworkSettings.SandboxKey,
    /** By name of the network. */
    networks: each.NetworkSettings.Networks,
  }));
export type DockerContainer = z.output<typeof Container>;

export const Event = z
  .object({
    // Those that are asked for.
    Type: z.enum(['container', 'network']),
    Action: z.string(),
    Actor: z.object({ ID: z.string(), Attributes: textMap }),
    time: z.number(),
    timeNano: z.number().nullish(),
  })
  .transform((each) => ({
    type: each.Type,
    /** `start`, `die`, `connect`, …; `exec_start: sh` and `health_status: healthy` carry more behind a colon. */
    action: each.Action,
    /** Of the container or network. */
    id: each.Actor.ID,
    /** Labels and what else Docker tells: `name`, `exitCode`; `container` and `type` for a network's `connect`. */
    attributes: each.Actor.Attributes,
    /** Wall clock of Docker, milliseconds. */
    atMs: each.timeNano == null ? each.time * 1000 : each.timeNano / 1e6,
  }));
export type DockerEvent = z.output<typeof Event>;

const errorMaxLength = 1024;

/**
 * Reads the answer to a call.
 * @throws DockerError `refused` with Docker's own words, `bad_reply` for what is no answer
 */
export function readReply<S extends z.ZodType>(
  what: string,
  { status, body }: { readonly status: number; readonly body: string },
  shape: S,
): z.output<S> {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    json = undefined;
  }
  if (status < 200 || status > 299) {
    const said = typeof json === 'object' && json !== null && 'message' in json ? json.message : undefined;
    const words = (typeof said === 'string' ? said : body).trim().slice(0, errorMaxLength);
    throw new DockerError('refused', `${what}: ${words || `HTTP ${status}`}`, { status });
  }
  const parsed = shape.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue?.path.join('.').slice(0, 128) || 'it';
  throw new DockerError('bad_reply', `${what}: not an answer of Docker's API: ${where}: ${issue?.message}`, { status });
}
