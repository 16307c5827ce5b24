import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Vault } from '../../controlplane/identity/vault.ts';
import { openStore } from '../../controlplane/store.ts';
import { listenerOf, makeApp, serve, serveInherited } from '../api/server.ts';
import type { AgentFlags } from '../cli/agent-flags.ts';
import { pluginListener } from '../docker/plugin.ts';
import { pluginPlaces } from '../plugins/discover.ts';
import { version } from '../version.ts';
import { Agent } from './agent.ts';
import { makeHandlers } from './calls/handlers.ts';
import { type AgentConfig, ConfigError, loadConfig } from './config.ts';
import { keepHeapSmall } from './heap.ts';
import { releaseMapped, tryLock } from './libc.ts';
import { type Logger, makeLog } from './log.ts';
import { inheritedSocket, ServiceNotifier } from './notify.ts';
import { reload } from './reload.ts';
import { endWhenUncaught } from './uncaught.ts';
import { unlockKey } from './unlock-key.ts';

/** For a listing of the kernel, which is a fraction of a second. */
const reloadMs = 30_000;

/** Exit codes of `weft agent`: 0 stopped as asked, 1 failed, 2 the configuration cannot be used. */
export async function runAgent(flags: AgentFlags): Promise<number> {
  keepHeapSmall();
  let config: AgentConfig;
  try {
    config = loadConfig(flags, process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`weft: ${error.message}\n`);
    return 2;
  }
  if (process.getuid?.() !== 0) {
    process.stderr.write('weft: the agent must run as root: it makes network devices and namespaces\n');
    return 1;
  }
  const log = makeLog(config);
  endWhenUncaught(log);
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  mkdirSync(config.runDir, { recursive: true, mode: 0o755 });
  const unlock: (() => void)[] = [];
  // The run directory stands for the host's kernel: two agents would take each other's devices down.
  for (const folder of [config.stateDir, config.runDir]) {
    const release = tryLock(join(folder, 'lock'));
    if (release === null) {
      process.stderr.write(`weft: another agent is using ${folder}: stop it first; a host has one agent\n`);
      return 1;
    }
    unlock.push(release);
  }
  using notifier = new ServiceNotifier(process.env);
  const stopped = stopSignal();
  const store = openStore(join(config.stateDir, 'store'), releaseMapped);
  try {
    const vault = new Vault(unlockKey(config.unlockKeyFile, process.env));
    const readConfig = (): AgentConfig => loadConfig(flags, process.env);
    const agent = new Agent({ config, readConfig, log, store, vault });
    try {
      await agent.start();
      const group = groupId(config.socketGroup);
      if (group === null) log.info({ group: config.socketGroup }, 'no such group: only root may use the socket');
      const server = await serve(listenerOf(makeApp(makeHandlers(agent), log)), config.socket, group);
      const plugin = await servePlugin(agent, log);
      log.info({ version, socket: config.socket, state: agent.state }, 'the agent is ready');
      process.on('SIGHUP', () => {
        reload(agent, false, AbortSignal.timeout(reloadMs)).then(
          ({ Changed }) => log.info({ changed: Changed }, 'the configuration was read again'),
          (error: unknown) => log.error({ err: error }, 'the configuration cannot be used; all stays as it is'),
        );
      });
      notifier.ready(agent.state);
      // Loaded late because it costs start-up time, but not only when it is needed: an installation of another version
      // may have replaced the files by then.
      await agent.firstPass();
      await import('../../controlplane/identity/authority.ts');
      const signal = await stopped;
      log.info({ signal }, 'stopping; forwarding goes on');
      notifier.stopping();
      await Promise.all([server.close(), plugin?.close()]);
    } finally {
      await agent.stop();
    }
    return 0;
  } catch (error) {
    log.error({ err: error }, 'the agent cannot run');
    return 1;
  } finally {
    await store.close();
    for (const release of unlock) release();
  }
}

/** Docker finds its plugins by their sockets (docs.docker.com, Docker Plugin API). @returns null where there can be none */
async function servePlugin(agent: Agent, log: Logger): Promise<{ close: () => Promise<void> } | null> {
  const listener = pluginListener(agent.docker.calls, log);
  const fd = inheritedSocket(process.env, process.pid, 'docker');
  try {
    if (fd !== null) return await serveInherited(listener, fd);
    return await serve(listener, join(pluginPlaces.sockets, 'weft.sock'), null);
  } catch (error) {
    log.warn({ err: error }, 'Docker cannot use Weft: its plugin socket cannot be made');
    return null;
  }
}

/** Resolves with the first SIGTERM or SIGINT; a second one ends the process at once. */
function stopSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        resolve(signal);
        process.once(signal, () => process.exit(1));
      });
    }
  });
}

/** Id of a group in /etc/group, or null when there is none. */
function groupId(name: string): number | null {
  for (const line of readFileSync('/etc/group', 'utf8').split('\n')) {
    const [each, , id] = line.split(':');
    if (each === name) return Number(id);
  }
  return null;
}
