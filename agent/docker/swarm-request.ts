import { ControlPlaneError } from '../../controlplane/errors.ts';
import { checked } from '../../controlplane/subnet-spec.ts';
import { type Parsed, parseCidr, parseIp, prefixOf } from '../../dataplane/values.ts';
import { type IpamConfig, NetworkCreateRequest } from '../api/schema.ts';
import { issueText } from '../daemon/api-error.ts';
import { overlay } from '../drivers/overlay.ts';
import { mtuOption } from '../mtu.ts';
import { vniOption } from './protocol.ts';
import type { DockerNetwork } from './shapes.ts';

// A network of a Swarm, as Weft would be asked for it. Pure.

export type Wanted =
  | {
      readonly ok: true;
      readonly request: NetworkCreateRequest;
      readonly further: readonly IpamConfig[];
      readonly notes: readonly string[];
    }
  | { readonly ok: false; readonly reason: string; readonly hint: string };

/** The network as Weft would be asked for it. A network begins with one subnet of each family; others are added to it. */
export function wantedOf(
  { driver, configFrom, internal, attachable, ipv6, options, labels, ipam }: DockerNetwork,
  name: string,
): Wanted {
  if (driver === '' || (driver === overlay.name && ipam.pools.length === 0)) {
    const hint = 'see whether it was to have the subnet of another network of the Swarm';
    return refused('the Swarm itself has not set it up: it has no subnet', hint);
  }
  if (driver !== overlay.name) {
    const settings = configFrom === '' ? '' : `, with the settings of ${configFrom} there`;
    return refused(
      `its driver is ${driver}, and only overlays are networks of the whole cluster`,
      `make it on each host that needs it${settings}: \`weft network create -d ${driver}\``,
    );
  }
  if (options.has('encrypted')) {
    const hint = 'where its traffic may be read on the way, make it yourself: `weft network create`';
    return refused('it is encrypted, and networks here cannot be yet', hint);
  }
  const subnets: IpamConfig[] = [];
  for (const pool of ipam.pools) {
    const config = configOf(pool);
    if (!config.ok) return refused(config.reason, 'make it yourself, with another subnet: `weft network create`');
    subnets.push(config.value);
  }
  const four = subnets.find(({ Subnet }) => !Subnet.includes(':'));
  const six = subnets.find(({ Subnet }) => Subnet.includes(':'));
  const first = [four, six].filter((each) => each !== undefined);
  const hasSix = ipv6 || six !== undefined;
  const kept = keptOptions(options, hasSix);
  const labelled = keptLabels(labels);
  const notes = [...kept.notes, ...labelled.notes];
  if (ipv6 && six === undefined) notes.push('the Swarm gave it no IPv6 subnet; here it gets one');
  const request: NetworkCreateRequest = {
    Name: name,
    ...(internal && { Internal: true }),
    ...(attachable && { Attachable: true }),
    ...(four === undefined && { EnableIPv4: false }),
    ...(hasSix && { EnableIPv6: true }),
    IPAM: { Config: first },
    ...(kept.all.size > 0 && { Options: Object.fromEntries(kept.all) }),
    ...(labelled.all.size > 0 && { Labels: Object.fromEntries(labelled.all) }),
  };
  const parsed = NetworkCreateRequest.safeParse(request);
  if (!parsed.success) return refused(`it cannot be a network here: ${issueText(parsed.error)}`, 'make it yourself');
  return { ok: true, request, further: subnets.filter((each) => !first.includes(each)), notes };
}

const refused = (reason: string, hint: string): Wanted => ({ ok: false, reason, hint });

/** A subnet in the spelling of the tables, with what narrows it. */
function configOf({ subnet, gateway, ipRange, auxiliary }: DockerNetwork['ipam']['pools'][number]): Parsed<IpamConfig> {
  const cidr = parseCidr(subnet);
  if (!cidr.ok) return cidr;
  const range = ipRange === '' ? null : parseCidr(ipRange);
  if (range !== null && !range.ok) return range;
  // Newer ones write the prefix length of an IPv6 gateway.
  const own = gateway === '' ? null : parseIp(gateway.replace(/\/.*/, ''));
  if (own !== null && !own.ok) return own;
  const aux: [string, string][] = [];
  for (const [key, text] of auxiliary) {
    const ip = parseIp(text);
    if (!ip.ok) return ip;
    aux.push([key, ip.value]);
  }
  const value = {
    Subnet: prefixOf(cidr.value),
    ...(own !== null && { Gateway: own.value }),
    ...(range !== null && { IPRange: prefixOf(range.value) }),
    ...(aux.length > 0 && { AuxiliaryAddresses: Object.fromEntries(aux) }),
  };
  try {
    checked({ subnet: value.Subnet, gateway: value.Gateway, ipRange: value.IPRange, aux: value.AuxiliaryAddresses });
    return { ok: true, value };
  } catch (error) {
    if (error instanceof ControlPlaneError) return { ok: false, reason: `${error.message}: ${error.hint}` };
    throw error;
  }
}

/** RFC 8200: no link of IPv6 has less. */
const leastIpv6Mtu = 1280;

interface Kept {
  readonly all: ReadonlyMap<string, string>;
  readonly notes: readonly string[];
}

function keptOptions(options: ReadonlyMap<string, string>, ipv6: boolean): Kept {
  const all = new Map<string, string>();
  const notes: string[] = [];
  for (const [key, value] of options) {
    // VXLAN ids are chosen anew.
    if (key === vniOption) continue;
    const why = whyNotOption(key, value, ipv6);
    if (why === null) all.set(key, value);
    else notes.push(`left out: option ${brief(key)}=${brief(value)}: ${why}`);
  }
  return { all, notes };
}

function whyNotOption(key: string, value: string, ipv6: boolean): string | null {
  if (!Object.hasOwn(overlay.options, key)) return 'overlays here have none of that name';
  if (key === mtuOption && ipv6 && Number(value) < leastIpv6Mtu) return `IPv6 needs ${leastIpv6Mtu} bytes or more`;
  return overlay.options[key]?.(value) ?? null;
}

/** Docker bounds them in no way. */
const labelsMax = 64;

function keptLabels(labels: ReadonlyMap<string, string>): Kept {
  const all = new Map<string, string>();
  const notes: string[] = [];
  for (const [key, value] of labels) {
    // With a sign in its name it could not be written as KEY=VALUE, and a NUL ends a word of a command.
    const why =
      all.size === labelsMax
        ? `a network has at most ${labelsMax}`
        : !/^[^=\0]{1,128}$/.test(key)
          ? 'want a name of 1 to 128 characters without ='
          : !/^[^\0]{0,1024}$/.test(value)
            ? 'want at most 1024 characters'
            : null;
    if (why === null) all.set(key, value);
    else notes.push(`left out: label ${brief(key)}: ${why}`);
  }
  return { all, notes };
}

const brief = (text: string): string => text.slice(0, 64);
