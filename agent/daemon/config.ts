import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { parse } from 'yaml';
import { z } from 'zod';
import { parseHostPort } from '../../controlplane/mesh/address.ts';
import { must, type Parsed, parseIp } from '../../dataplane/values.ts';
import type { AgentFlags } from '../cli/agent-flags.ts';
import { defaultDockerSocket } from '../docker/socket.ts';
import { parseOptions, parseSearch, parseServers, type Resolver } from '../files/resolv-conf.ts';

export const defaultConfigPath = '/etc/weft/agent.yaml';

const port = z.int().min(1).max(65535);
const isIp = (text: string): boolean => parseIp(text).ok;
// Any port will do for the check.
const isIpPort = (text: string): boolean => isIp(parseHostPort(text, 1)?.host ?? '');
const path = z.string().regex(/^\/[^\0\n]{0,255}$/, 'want an absolute path');

const list = (parse: (texts: readonly string[]) => Parsed<string[]>) =>
  z
    .array(z.string(), 'want a list')
    .superRefine((texts, context) => {
      const parsed = parse(texts);
      if (!parsed.ok) context.addIssue({ code: 'custom', message: parsed.reason });
    })
    .default([]);

/** Keys of the config file; the environment has the same as WEFT_STATE_DIR and so on. */
const Config = z.strictObject({
  /** Identity, keys and tables. */
  'state-dir': path.default('/var/lib/weft'),
  /** What the CA's keys on a manager's disk are sealed with; STATE-DIR.key when absent. */
  'unlock-key-file': path.optional(),
  /** Socket and what a reboot should forget; a tmpfs. */
  'run-dir': path.default('/run/weft'),
  /** Local API; RUN-DIR/weft.sock when absent. */
  socket: path.optional(),
  /** Group that may use the socket besides root. */
  'socket-group': z
    .string()
    .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'want a group name')
    .default('weft'),
  hostname: z
    .string()
    .regex(/^[A-Za-z0-9]([A-Za-z0-9.-]{0,62})$/, 'want a host name')
    .optional(),
  /** Address that gossip and joins are taken at. */
  'listen-addr': z.union([z.ipv4(), z.ipv6()]).optional(),
  /** Address that other nodes reach this one at; as init or join found it when absent. */
  'advertise-addr': z.string().max(64).refine(isIpPort, 'want IP or IP:PORT').optional(),
  /** VTEP; the advertise address when absent. */
  'data-path-addr': z.string().max(45).refine(isIp, 'want an IP address').optional(),
  'gossip-port': port.default(7946),
  'join-port': port.default(2377),
  /** Docker's, whose networks are kept up to date. */
  'docker-socket': path.default(defaultDockerSocket),
  /** Subnet of docker_gwbridge; the first that collides with no route when absent. */
  'gateway-subnet': z.cidrv4().optional(),
  /** For resolv.conf of sandboxes that name none of their own, as in Docker's daemon.json; the host's when empty. */
  dns: list(parseServers),
  'dns-search': list(parseSearch),
  'dns-opts': list(parseOptions),
  /** Whether changes that others make to what Weft programmed are undone, or only listed. */
  drift: z.enum(['repair', 'observe']).default('repair'),
  /** How often the path MTU to each other node is confirmed while the host sends, in seconds; ten times as long at rest. */
  'mtu-probe-interval': z.number().min(0.1).max(3600).default(30),
  'log-level': z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  'log-format': z.enum(['json', 'pretty']).default('json'),
});

type Keys = z.infer<typeof Config>;

export interface AgentConfig {
  readonly stateDir: string;
  readonly unlockKeyFile: string;
  readonly runDir: string;
  readonly socket: string;
  readonly socketGroup: string;
  readonly hostname: string;
  readonly listenHost: string | null;
  readonly advertiseAddr: string | undefined;
  readonly dataPathAddr: string | undefined;
  readonly gossipPort: number;
  readonly joinPort: number;
  readonly dockerSocket: string;
  readonly gatewaySubnet: string | null;
  /** Defaults for sandboxes. */
  readonly resolver: Resolver;
  readonly drift: Keys['drift'];
  readonly mtuProbeMs: number;
  readonly logLevel: Keys['log-level'];
  readonly logFormat: Keys['log-format'];
}

/** The configuration cannot be used; the message names the place and the key. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/**
 * Defaults, then the config file, then WEFT_* of the environment, then flags: the later one wins.
 * @throws ConfigError for a file that cannot be read, a key that is not known, or a value that does not fit
 */
export function loadConfig(flags: AgentFlags, environment: NodeJS.ProcessEnv): AgentConfig {
  const file = readFile(flags.config);
  const merged = { ...file.keys, ...fromEnvironment(environment), ...fromFlags(flags) };
  // Each source was checked on its own above, so that an error can name it.
  const keys = Config.parse(merged);
  return {
    stateDir: keys['state-dir'],
    unlockKeyFile: keys['unlock-key-file'] ?? `${keys['state-dir']}.key`,
    runDir: keys['run-dir'],
    socket: keys.socket ?? `${keys['run-dir']}/weft.sock`,
    socketGroup: keys['socket-group'],
    hostname: keys.hostname ?? hostname(),
    listenHost: keys['listen-addr'] ?? null,
    advertiseAddr: keys['advertise-addr'],
    dataPathAddr: keys['data-path-addr'],
    gossipPort: keys['gossip-port'],
    joinPort: keys['join-port'],
    dockerSocket: keys['docker-socket'],
    gatewaySubnet: keys['gateway-subnet'] ?? null,
    resolver: {
      servers: must(parseServers(keys.dns)),
      search: must(parseSearch(keys['dns-search'])),
      options: must(parseOptions(keys['dns-opts'])),
    },
    drift: keys.drift,
    mtuProbeMs: keys['mtu-probe-interval'] * 1000,
    logLevel: keys['log-level'],
    logFormat: keys['log-format'],
  };
}

function readFile(path: string | undefined): { keys: Partial<Keys> } {
  const file = path ?? defaultConfigPath;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if (path === undefined && (error as NodeJS.ErrnoException).code === 'ENOENT') return { keys: {} };
    throw new ConfigError(`cannot read config file ${file}: ${(error as Error).message}`);
  }
  let parsed: unknown;
  try {
    parsed = parse(text) ?? {};
  } catch (error) {
    throw new ConfigError(`${file} is not YAML: ${(error as Error).message.split('\n')[0]}`);
  }
  return { keys: check(parsed, file) };
}

function fromEnvironment(environment: NodeJS.ProcessEnv): Partial<Keys> {
  const keys: { [key: string]: unknown } = {};
  for (const [name, text] of Object.entries(environment)) {
    // WEFT_HOST names the socket for the client.
    if (!name.startsWith('WEFT_') || name === 'WEFT_HOST' || text === undefined) continue;
    const key = name.slice('WEFT_'.length).toLowerCase().replaceAll('_', '-');
    keys[key] = typed(key, text);
  }
  return check(keys, 'environment', (key) => `WEFT_${key.toUpperCase().replaceAll('-', '_')}`);
}

/** A text of the environment as the file would have it; lists have commas. */
function typed(key: string, text: string): unknown {
  if (/-(port|interval)$/.test(key) && /^\d+$/.test(text)) return Number(text);
  return /^dns(-|$)/.test(key) ? text.split(',') : text;
}

function fromFlags(flags: AgentFlags): Partial<Keys> {
  const keys: { [key: string]: unknown } = {};
  for (const [name, value] of Object.entries(flags)) {
    if (name !== 'config' && value !== undefined)
      keys[name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)] = value;
  }
  return check(keys, 'command line', (key) => `--${key}`);
}

function check(keys: unknown, source: string, nameOf: (key: string) => string = (key) => key): Partial<Keys> {
  const parsed = Config.partial().safeParse(keys);
  if (parsed.success) {
    // Only what the source says: partial() leaves defaults in.
    const given = Object.keys(keys as object);
    return Object.fromEntries(Object.entries(parsed.data).filter(([key]) => given.includes(key)));
  }
  const issue = parsed.error.issues[0];
  if (issue?.code === 'unrecognized_keys') {
    const known = Object.keys(Config.shape).map(nameOf).join(', ');
    throw new ConfigError(`${source}: unknown key ${issue.keys.map(nameOf).join(', ')}; the keys are ${known}`);
  }
  const key = issue?.path.length ? nameOf(issue.path.join('.')) : 'the whole';
  throw new ConfigError(`${source}: ${key}: ${issue?.message ?? 'not valid'}`);
}
