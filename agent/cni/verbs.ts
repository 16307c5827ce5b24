import { setTimeout } from 'node:timers/promises';
import { ApiError, type LocalClient } from '../api/client.ts';
import type { Sandbox } from '../api/schema.ts';
import { parseHostname } from '../files/resolv-conf.ts';
import { CniError, codes, failureOf, isRefusal } from './failure.ts';
import { attachmentLabel, attachmentsIn, containerLabel, sandboxNameOf } from './labels.ts';
import type { Call } from './request.ts';
import { differences, type Endpoint, resultOf } from './result.ts';

type Of<Command extends Call['command']> = Extract<Call, { command: Command }>;

// Runtimes wait for minutes; the agent gives up on the kernel after 20 s.
const changeMs = 60_000;
// Of taking back what may have been made.
const undoMs = 5_000;
// Addresses rest for 30 s (controlplane/ring/resting.ts).
const patienceMs = 35_000;
const pollMs = 250;

/** The container's sandbox; null when there is none. */
async function sandboxOf(client: LocalClient, containerId: string, timeoutMs = changeMs): Promise<Sandbox | null> {
  try {
    const sandbox = await client.call('sandboxInspect', { ref: sandboxNameOf(containerId), timeoutMs });
    return sandbox.Name === sandboxNameOf(containerId) && sandbox.Labels[containerLabel] === containerId
      ? sandbox
      : null;
  } catch (error) {
    if (isRefusal(error, 'sandbox_not_found')) return null;
    throw error;
  }
}

/** The endpoint behind an interface; undefined when that was asked for by another configuration, or by nobody. */
const endpointAt = (sandbox: Sandbox, ifName: string, config: string): Endpoint | undefined =>
  sandbox.Labels[attachmentLabel(ifName)] === config
    ? sandbox.Networks.find((endpoint) => endpoint.Interface === ifName)
    : undefined;

/**
 * ADD: the first one of a container adopts its namespace, later ones connect it. All of it or nothing.
 * @param readFile text of the sandbox's resolv.conf; '' when it cannot be read
 * @returns the result
 */
export async function add(client: LocalClient, call: Of<'ADD'>, readFile: (path: string) => string): Promise<object> {
  const before = await reusable(client, call);
  try {
    const attach = () => (before === null ? adopt(client, call) : connect(client, call, before));
    const after = await patiently(attach);
    const endpoint = endpointAt(after, call.ifName, call.name);
    if (endpoint === undefined) throw new Error(`interface ${call.ifName} of ${after.Name} is not there`);
    const leadsOut = (before?.Gateway ?? null) === null;
    return resultOf(call.version, after, endpoint, leadsOut, readFile(after.ResolvConfPath));
  } catch (error) {
    // What was refused is not there. Whatever else went wrong, it may have been made all the same.
    const refused = error instanceof ApiError || error instanceof CniError;
    if (!refused) await remove(client, call, undoMs).catch(() => undefined);
    throw error;
  }
}

/**
 * Waits for what passes by itself: a container that is started again with an address of its own asks for what it released a
 * moment ago, and somebody else may be changing its sandbox. The agent says so and does not wait; runtimes such as Podman
 * would give up.
 */
async function patiently<T>(work: () => Promise<T>): Promise<T> {
  const endMs = performance.now() + patienceMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isRefusal(error, 'address_resting', 'sandbox_busy') || performance.now() > endMs) throw error;
      await setTimeout(pollMs);
    }
  }
}

/** The container's sandbox if there is one to connect; one whose namespace is gone was of an earlier run of it. */
async function reusable(client: LocalClient, call: Of<'ADD'>): Promise<Sandbox | null> {
  const found = await sandboxOf(client, call.containerId);
  if (found === null) return null;
  const { Name: name, NetnsPresent: present, NetnsPath: netns } = found;
  if (!present) {
    await removeSandbox(client, found, changeMs);
    return null;
  }
  if (netns !== call.netns) {
    const what = `container ${call.containerId} has namespace ${netns} already (sandbox ${name}), and ADD names ${call.netns}`;
    throw new CniError(codes.refused, what, 'DEL it first, with the interfaces that it was added with');
  }
  if (found.Networks.some((endpoint) => endpoint.Interface === call.ifName)) {
    const what = `container ${call.containerId} has an interface ${call.ifName} already (sandbox ${name})`;
    throw new CniError(codes.refused, what, 'DEL it first, or ask for another CNI_IFNAME');
  }
  const missing = call.wanted.publish.filter((port) => !isPublished(found, port));
  if (missing.length > 0) {
    const what = `${missing.join(', ')} cannot be published any more: sandbox ${name} is there since the first network`;
    throw new CniError(
      codes.refused,
      what,
      'give the ports with the first network of a container, one that is not internal',
    );
  }
  return found;
}

/** Runtimes ask for the same ports with each network of a container. */
function isPublished({ Ports: ports }: Sandbox, wanted: string): boolean {
  return Object.entries(ports).some(([port, bindings]) =>
    bindings.some(({ HostIp: ip, HostPort: host }) => [`${host}:${port}`, `${ip}:${host}:${port}`].includes(wanted)),
  );
}

const attachmentFields = ({ ifName, name, wanted: { aliases, ip, ip6, mac } }: Of<'ADD'>) => ({
  Interface: ifName,
  Labels: { [attachmentLabel(ifName)]: name },
  ...(aliases.length === 0 ? {} : { Aliases: [...aliases] }),
  ...(ip === null ? {} : { IPAddress: ip }),
  ...(ip6 === null ? {} : { GlobalIPv6Address: ip6 }),
  ...(mac === null ? {} : { MacAddress: mac }),
});

async function adopt(client: LocalClient, call: Of<'ADD'>): Promise<Sandbox> {
  const { containerId, netns, network, wanted } = call;
  const { container, dns, publish } = wanted;
  const fields = attachmentFields(call);
  return await client.call('sandboxCreate', {
    body: {
      ...fields,
      Name: sandboxNameOf(containerId),
      Networks: [network],
      NetnsPath: netns,
      Labels: { [containerLabel]: containerId, ...fields.Labels },
      ...(container !== null && parseHostname(container).ok ? { Hostname: container } : {}),
      Dns: [...dns.servers],
      DnsSearch: [...dns.search],
      DnsOptions: [...dns.options],
      Publish: [...publish],
    },
    timeoutMs: changeMs,
  });
}

async function connect(client: LocalClient, call: Of<'ADD'>, sandbox: Sandbox): Promise<Sandbox> {
  const body = { Sandbox: sandbox.ID, ...attachmentFields(call) };
  await client.call('networkConnect', { ref: call.network, body, timeoutMs: changeMs });
  return await client.call('sandboxInspect', { ref: sandbox.ID });
}

/** DEL: takes the interface away, and the sandbox with its last. What is not there was deleted. */
export const del = (client: LocalClient, call: Of<'DEL'>): Promise<void> => remove(client, call, changeMs);

async function remove(
  client: LocalClient,
  at: { readonly containerId: string; readonly ifName: string; readonly name: string },
  timeoutMs: number,
): Promise<void> {
  const sandbox = await sandboxOf(client, at.containerId, timeoutMs);
  if (sandbox === null || sandbox.Labels[attachmentLabel(at.ifName)] !== at.name) return;
  const asked = new Set(attachmentsIn(sandbox.Labels).map(({ ifName }) => ifName));
  const others = sandbox.Networks.filter(({ Interface: name }) => name !== at.ifName && asked.has(name));
  const endpoint = endpointAt(sandbox, at.ifName, at.name);
  if (others.length === 0) return await removeSandbox(client, sandbox, timeoutMs);
  if (endpoint === undefined) return;
  const call = { ref: endpoint.NetworkID, body: { Sandbox: sandbox.ID }, timeoutMs };
  await gone(() => client.call('networkDisconnect', call));
}

const removeSandbox = (client: LocalClient, { ID: ref }: Sandbox, timeoutMs: number): Promise<void> =>
  gone(() => client.call('sandboxRemove', { ref, timeoutMs }));

/** Does what may have been done meanwhile, by the agent or by a person. */
async function gone(work: () => Promise<unknown>): Promise<void> {
  try {
    await patiently(work);
  } catch (error) {
    if (!isRefusal(error, 'sandbox_not_found', 'network_not_found', 'not_connected')) throw error;
  }
}

/** CHECK: what ADD said is still so. @throws CniError when it is not */
export async function check(client: LocalClient, call: Of<'CHECK'>): Promise<void> {
  const { containerId, ifName, name, netns, previous } = call;
  const sandbox = await sandboxOf(client, containerId);
  const endpoint = sandbox === null ? undefined : endpointAt(sandbox, ifName, name);
  const next = '`weft sandbox ls` and `weft status` show what there is; DEL and ADD make it anew';
  if (sandbox === null || endpoint === undefined) {
    const what = `container ${containerId} has no interface ${ifName} of ${name}`;
    throw new CniError(codes.differs, what, next);
  }
  const moved = sandbox.NetnsPath === netns ? [] : [`its namespace was ${sandbox.NetnsPath}, and is ${netns}`];
  const found = [...moved, ...differences(previous, sandbox, endpoint)];
  if (found.length > 0) throw new CniError(codes.differs, `container ${containerId}: ${found.join('; ')}`, next);
}

/** GC: takes away what the configuration's runtime does not name. All that can be, also when one cannot. */
export async function gc(client: LocalClient, call: Of<'GC'>): Promise<void> {
  const valid = new Set(call.valid.map(({ containerID, ifname }) => `${containerID} ${ifname}`));
  const failures: unknown[] = [];
  for (const { Labels: labels } of await client.call('sandboxList')) {
    const containerId = labels[containerLabel];
    if (containerId === undefined) continue;
    for (const { ifName, config } of attachmentsIn(labels)) {
      if (config !== call.name || valid.has(`${containerId} ${ifName}`)) continue;
      try {
        await remove(client, { containerId, ifName, name: call.name }, changeMs);
      } catch (error) {
        failures.push(error);
      }
    }
  }
  if (failures.length === 0) return;
  const { code, msg, details } = failureOf(failures[0]);
  throw new CniError(code, failures.length === 1 ? msg : `${msg} (and ${failures.length - 1} more)`, details);
}

/** STATUS: an ADD could be served. @throws CniError when it could not */
export async function status(client: LocalClient, call: Of<'STATUS'>): Promise<void> {
  let why: string;
  let next: string;
  try {
    const networks = await client.call('networkList');
    const wanted = call.network;
    if (networks.some(({ Name: name, Id: id }) => name === wanted || id.startsWith(wanted))) return;
    const { State: state } = await client.call('status');
    why = `network ${wanted} is not known here (the agent is ${state})`;
    next = state === 'active' ? `\`weft network create ${wanted}\` makes it` : 'run `weft init`, or `weft join`';
  } catch (error) {
    ({ msg: why, details: next } = failureOf(error));
  }
  throw new CniError(codes.notAvailable, why, next);
}
