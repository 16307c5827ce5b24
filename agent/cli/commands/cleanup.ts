import type { Command } from 'commander';
import type { CleanedUp } from '../../daemon/cleanup.ts';
import { define } from '../define.ts';
import { exitCodes, Failure } from '../failure.ts';
import { once } from '../parse.ts';
import type { Session } from '../session.ts';
import { count } from '../text.ts';

interface Flags {
  readonly dryRun?: boolean;
  readonly runDir?: string;
}

/** `weft cleanup`. Without an agent: it reaches into the kernel itself. */
export function addCleanup(parent: Command, session: Session): void {
  define(parent, 'cleanup', {
    summary: "Remove all that is Weft's from the kernel of a host without an agent",
    details: `Devices, namespaces, rules, and the files of sandboxes; what is not Weft's is left alone. The state on disk
stays, and a start of the agent makes everything anew: to leave the cluster use \`weft leave\`. Needs root.`,
    examples: ['weft cleanup --dry-run', 'systemctl stop weft && weft cleanup'],
  })
    .option('--dry-run', 'only print what it would do, as commands')
    .option('--run-dir <path>', 'run-dir of the agent (default: /run/weft)', once)
    .action(
      session.action<Flags>(async (context, { dryRun = false, runDir = '/run/weft' }) => {
        if (process.getuid?.() !== 0) {
          throw new Failure(
            exitCodes.unreachable,
            'no_permission',
            'the kernel of this host can only be changed by root',
            'run `sudo weft cleanup`',
          );
        }
        const { commands, left } = await cleanUp(runDir, dryRun);
        context.document({ DryRun: dryRun, Commands: commands, Left: left });
        if (commands.length === 0) context.print("There is nothing of Weft's on this host.\n");
        else if (dryRun) context.print(commands.map((line) => `${line}\n`).join(''));
        else context.print(`Removed with ${count(commands.length, 'step')}.\n`);
        if (!dryRun) context.print(left.map((line) => `${line}\n`).join(''));
      }),
    );
}

async function cleanUp(runDir: string, dryRun: boolean): Promise<CleanedUp> {
  // Loaded here alone: other commands need no native code.
  const { AgentRunning, cleanUpHost } = await import('../../daemon/cleanup.ts');
  try {
    return await cleanUpHost(runDir, dryRun);
  } catch (error) {
    if (error instanceof AgentRunning) {
      const hint = 'stop it first (`systemctl stop weft`); to take this host out of the cluster use `weft leave`';
      throw new Failure(exitCodes.failed, 'agent_running', error.message, hint);
    }
    throw new Failure(
      exitCodes.failed,
      'cleanup_failed',
      (error as Error).message,
      'what stays is named; run it again',
    );
  }
}
