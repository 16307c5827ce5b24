import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cleanUp, cleanUpCommands } from '../../dataplane/cleanup.ts';
import { emptyResolver } from '../files/resolv-conf.ts';
import { tryLock } from './libc.ts';
import { fileRoots, SandboxFiles } from './sandboxes/sandbox-files.ts';

/** An agent runs on this host: what is in the kernel is its own business. */
export class AgentRunning extends Error {
  override readonly name = 'AgentRunning';
}

/**
 * Takes all that is Weft's off this host, but for its state on disk: devices, namespaces, rules, and the files of sandboxes.
 * Needs no state and no agent.
 * @param dryRun only says what it would do
 * @returns that, or what it did, as commands that a person with a root shell could run
 * @throws AgentRunning; AggregateError of what could not be removed, after trying everything
 */
export async function cleanUpHost(runDir: string, dryRun: boolean): Promise<string[]> {
  const release = lockOf(runDir);
  try {
    const quiet = (): void => {};
    const log = { debug: quiet, info: quiet, warn: quiet, error: quiet };
    const files = new SandboxFiles({ roots: fileRoots(runDir), defaults: emptyResolver, own: () => null, log });
    const ofFiles = files.leftovers([]).map((directory) => `rm -r ${directory}`);
    if (dryRun) return [...(await cleanUpCommands(runDir)), ...ofFiles];
    files.sweep([]);
    return [...(await cleanUp({ log, runDir })), ...ofFiles];
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
