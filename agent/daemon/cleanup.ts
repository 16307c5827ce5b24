import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cleanUp, cleanUpCommands } from '../../dataplane/cleanup.ts';
import { leftToUser } from '../../dataplane/nft/user.ts';
import { emptyResolver } from '../files/resolv-conf.ts';
import { tryLock } from './libc.ts';
import { fileRoots, SandboxFiles } from './sandboxes/sandbox-files.ts';

/** An agent runs on this host: what is in the kernel is its own business. */
export class AgentRunning extends Error {
  override readonly name = 'AgentRunning';
}

export interface CleanedUp {
  /** What was done, or would be, as commands that a person with a root shell could run. */
  readonly commands: readonly string[];
  /** What was made for this host's owner and stays, since there is something in it. */
  readonly left: readonly string[];
}

/**
 * Takes all that is Weft's off this host, but for its state on disk: devices, namespaces, rules, and the files of sandboxes.
 * Needs no state and no agent.
 * @param dryRun only says what it would do
 * @throws AgentRunning; AggregateError of what could not be removed, after trying everything
 */
export async function cleanUpHost(runDir: string, dryRun: boolean): Promise<CleanedUp> {
  const release = lockOf(runDir);
  try {
    const quiet = (): void => {};
    const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
    const files = new SandboxFiles({ roots: fileRoots(runDir), defaults: emptyResolver, own: () => null, log });
    const ofFiles = files.leftovers([]).map((directory) => `rm -r ${directory}`);
    if (dryRun) return { commands: [...(await cleanUpCommands(runDir)), ...ofFiles], left: [] };
    files.sweep([]);
    return { commands: [...(await cleanUp({ log, runDir })), ...ofFiles], left: await leftToUser() };
  } finally {
    release();
  }
}

/** As the agent takes it at its start. Without the directory there is none, and nobody has it. */
function lockOf(runDir: string): () => void {
  if (!existsSync(runDir)) return () => {};
  const release = tryLock(join(runDir, 'lock'));
  if (release === null) throw new AgentRunning(`an agent is running on this host, with ${runDir}`);
  return release;
}
