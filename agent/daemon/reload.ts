import type { ReloadReply } from '../api/schema.ts';
import type { Agent } from './agent.ts';
import { invalid } from './api-error.ts';
import { type AgentConfig, ConfigError } from './config.ts';

/** What a person calls each part of the configuration, and whether a running agent can take another value. */
const parts: { readonly [K in keyof AgentConfig]: { readonly key: string; readonly live: boolean } } = {
  stateDir: { key: 'state-dir', live: false },
  unlockKeyFile: { key: 'unlock-key-file', live: false },
  runDir: { key: 'run-dir', live: false },
  socket: { key: 'socket', live: false },
  socketGroup: { key: 'socket-group', live: false },
  hostname: { key: 'hostname', live: false },
  listenHost: { key: 'listen-addr', live: false },
  advertiseAddr: { key: 'advertise-addr', live: false },
  dataPathAddr: { key: 'data-path-addr', live: false },
  gossipPort: { key: 'gossip-port', live: false },
  joinPort: { key: 'join-port', live: false },
  dockerSocket: { key: 'docker-socket', live: false },
  gatewaySubnet: { key: 'gateway-subnet', live: false },
  resolver: { key: 'dns, dns-search, dns-opts', live: true },
  drift: { key: 'drift', live: true },
  mtuProbeMs: { key: 'mtu-probe-interval', live: false },
  logLevel: { key: 'log-level', live: true },
  logFormat: { key: 'log-format', live: false },
};

/** In what the two differ. Pure. */
export function configChanges(before: AgentConfig, after: AgentConfig): ReloadReply['Changed'] {
  return (Object.keys(parts) as (keyof AgentConfig)[]).flatMap((part) => {
    const [From, To] = [JSON.stringify(before[part] ?? null), JSON.stringify(after[part] ?? null)];
    const { key, live } = parts[part];
    return From === To ? [] : [{ Key: key, From, To, Live: live }];
  });
}

/**
 * Reads the configuration again, and takes over what a running agent can.
 * @throws RequestError when it cannot be used; then all stays as it is
 */
export async function reload(agent: Agent, dryRun: boolean, signal: AbortSignal): Promise<ReloadReply> {
  let next: AgentConfig;
  try {
    next = agent.readConfig();
  } catch (error) {
    if (error instanceof ConfigError)
      throw invalid(error.message, 'mend the configuration; the agent goes on as it is');
    throw error;
  }
  const Changed = configChanges(agent.config, next);
  const Commands = await commandsFor(agent, next, signal);
  if (!dryRun) agent.takeOver(next);
  return { Changed, Commands };
}

async function commandsFor(agent: Agent, next: AgentConfig, signal: AbortSignal): Promise<string[]> {
  const repairs = agent.config.drift === 'observe' && next.drift === 'repair';
  const ofKernel = repairs ? (await agent.dataPlane.pending(signal)).commands : [];
  const ofFiles = agent.files
    .changesWith(agent.sandboxes.list(), next.resolver)
    .map(({ path, text }) => `tee ${path} <<'END'\n${text}END`);
  return [...ofKernel, ...ofFiles];
}
