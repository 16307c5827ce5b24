import ipaddr from 'ipaddr.js';
import { type Ip, type Parsed, parseIp } from '../../dataplane/values.ts';

// The format is that of resolv.conf(5), as glibc reads it. Bounds: a resolver takes no more than three servers, and those
// of musl no more than 256 bytes of domains; the rest is far above what is in use.
const maxServers = 3;
const maxDomains = 32;
const maxOptions = 16;
const maxDomainLength = 253;
// sethostname(2): 64 on Linux.
const maxHostnameLength = 64;

/** What a resolver is told. An empty list says nothing; a search list of `.` alone says that there is none. */
export interface Resolver {
  readonly servers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
}

export const emptyResolver = { servers: [], search: [], options: [] } satisfies Resolver;

/** What the host's resolv.conf says, as far as a sandbox can use it. */
export interface HostResolver {
  readonly resolver: Resolver;
  /** Servers that mean the host itself, or one of its interfaces, and would mean another in a sandbox. */
  readonly unusable: readonly Ip[];
}

const ok = <T>(value: T): Parsed<T> => ({ ok: true, value });
const bad = (text: string, want: string): Parsed<never> => ({
  ok: false,
  reason: `${JSON.stringify(text.slice(0, 64))} is not ${want}`,
});

/** A list of nameservers, as a user gives it. */
export function parseServers(texts: readonly string[]): Parsed<Ip[]> {
  const servers = every(texts, parseIp);
  return atMost(maxServers, 'nameservers: resolvers read no more', servers);
}

/** A list of search domains, as a user gives it: `.` alone means none. */
export function parseSearch(texts: readonly string[]): Parsed<string[]> {
  if (texts.length === 1 && texts[0] === '.') return ok(['.']);
  if (texts.includes('.')) return { ok: false, reason: 'search domain . means none, and others are given too' };
  return atMost(maxDomains, 'search domains', every(texts, parseDomain));
}

/** A list of resolver options, as a user gives it. */
export function parseOptions(texts: readonly string[]): Parsed<string[]> {
  return atMost(maxOptions, 'resolver options', every(texts, parseOption));
}

/** A host name (RFC 1123), with its domain or without. */
export function parseHostname(text: string): Parsed<string> {
  const good = text.length <= maxHostnameLength && isDotted(text, /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/);
  return good ? ok(text) : bad(text, `a host name: want 1 to ${maxHostnameLength} letters, digits, - and .`);
}

function parseDomain(text: string): Parsed<string> {
  const name = text.endsWith('.') ? text.slice(0, -1) : text;
  // With underscores, as directories of services have them.
  const good = name.length <= maxDomainLength && isDotted(name, /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/);
  return good ? ok(name) : bad(text, 'a domain: want labels of letters, digits and -, such as corp.example');
}

function parseOption(text: string): Parsed<string> {
  if (/^[a-z][a-z0-9-]{0,31}(:\d{1,9})?$/.test(text)) return ok(text);
  return bad(text, 'a resolver option: want a word of resolv.conf(5), such as ndots:2 or rotate');
}

const isDotted = (text: string, label: RegExp): boolean => text.split('.').every((each) => label.test(each));

function every<T>(texts: readonly string[], parse: (text: string) => Parsed<T>): Parsed<T[]> {
  const values = new Set<T>();
  for (const text of texts) {
    const parsed = parse(text);
    if (!parsed.ok) return parsed;
    values.add(parsed.value);
  }
  return ok([...values]);
}

function atMost<T>(max: number, what: string, list: Parsed<T[]>): Parsed<T[]> {
  if (!list.ok || list.value.length <= max) return list;
  return { ok: false, reason: `${list.value.length} are given, and there can be at most ${max} ${what}` };
}

/**
 * Reads the host's file. What glibc would not understand is left out, as glibc does; of servers the first three count, of
 * `search` and `domain` the last, and options add up.
 */
export function parseResolvConf(text: string): HostResolver {
  const servers: string[] = [];
  const unusable: Ip[] = [];
  const options: string[] = [];
  let search: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...words] = line.trimEnd().split(/[ \t]+/);
    if (keyword === 'nameserver' && servers.length + unusable.length < maxServers) {
      const [address = '', zone] = (words[0] ?? '').split('%');
      const ip = parseIp(address);
      if (ip.ok && zone === undefined && isReachable(ip.value)) servers.push(ip.value);
      else if (ip.ok) unusable.push(ip.value);
    } else if (keyword === 'search' || keyword === 'domain') {
      search = understood(keyword === 'domain' ? words.slice(0, 1) : words, parseDomain).slice(0, maxDomains);
    } else if (keyword === 'options') {
      options.push(...understood(words, parseOption).slice(0, maxOptions - options.length));
    }
  }
  const unique = (texts: readonly string[]): string[] => [...new Set(texts)];
  return { resolver: { servers: unique(servers), search: unique(search), options: unique(options) }, unusable };
}

function understood(words: readonly string[], parse: (text: string) => Parsed<string>): string[] {
  return words.map(parse).flatMap((each) => (each.ok ? [each.value] : []));
}

/** Whether an address means the same from a network namespace of its own as from the host. */
function isReachable(ip: Ip): boolean {
  // IPv4 in IPv6 counts as what is in it.
  const address = ipaddr.process(ip);
  const range = address.range();
  if (range === 'loopback' || range === 'unspecified') return false;
  return !(address.kind() === 'ipv6' && range === 'linkLocal');
}

/**
 * What sandboxes are to take from the host.
 * @param etc text of /etc/resolv.conf; '' when there is none
 * @param upstream text of the file in which systemd-resolved says whom its own stub at 127.0.0.53 asks; null when there is none
 */
export function hostResolver(etc: string, upstream: string | null): HostResolver {
  const own = parseResolvConf(etc);
  if (own.resolver.servers.length > 0 || upstream === null) return own;
  const asked = parseResolvConf(upstream);
  return asked.resolver.servers.length > 0 ? asked : own;
}

/** What an operator should know of nameservers of the host that sandboxes cannot use; null for nothing. */
export function complaint({ resolver, unusable }: HostResolver, defaults: Resolver): string | null {
  if (defaults.servers.length > 0) return null;
  const next = 'set dns in the configuration of the agent';
  const own = `this host's resolv.conf`;
  if (unusable.length > 0) {
    const rest = resolver.servers.length > 0 ? '' : ', and names no other';
    return `${own} names ${unusable.join(', ')}, which a sandbox cannot reach${rest}: ${next}`;
  }
  return resolver.servers.length > 0 ? null : `${own} names no nameserver, so sandboxes have none: ${next}`;
}

/** The first that says something, list by list, as Docker does it. */
export function firstOf(...resolvers: readonly Resolver[]): Resolver {
  const first = (list: keyof Resolver) => resolvers.map((each) => each[list]).find(({ length }) => length > 0) ?? [];
  return { servers: first('servers'), search: first('search'), options: first('options') };
}

/** The lines of a resolv.conf. */
export function renderResolvConf({ servers, search, options }: Resolver): string {
  // No `search .` for none: musl would take the dot for a domain.
  const domains = search.filter((domain) => domain !== '.');
  return [
    ...servers.map((server) => `nameserver ${server}\n`),
    domains.length === 0 ? '' : `search ${domains.join(' ')}\n`,
    options.length === 0 ? '' : `options ${options.join(' ')}\n`,
  ].join('');
}
