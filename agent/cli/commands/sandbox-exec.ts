import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import type { Command } from 'commander';
import type { Sandbox } from '../../api/schema.ts';
import { define } from '../define.ts';
import { exitCodes, Failure, usage } from '../failure.ts';
import type { Session } from '../session.ts';

/** `weft sandbox exec`. */
export function addSandboxExec(parent: Command, session: Session): void {
  define(parent, 'exec', {
    summary: 'Run a command of this host in the namespace of a sandbox',
    details:
      "The command sees the sandbox's own /etc/hostname, /etc/hosts and /etc/resolv.conf. Needs root. Exits with the" +
      " command's own code; 126: it cannot be executed, 127: it was not found.",
    examples: ['weft sandbox exec web -- ip addr', 'weft sandbox exec web ping -c 3 db'],
  })
    .argument('<sandbox>', 'name, id or start of an id')
    .argument('<command...>', 'command and its arguments')
    .passThroughOptions()
    .action(
      session.action(async (context, _flags, [ref = '', ...rest]) => {
        const words = rest[0] === '--' ? rest.slice(1) : rest;
        if (words.length === 0) throw usage('a command is needed', 'See `weft sandbox exec --help`.');
        const sandbox = await context.client.call('sandboxInspect', { ref });
        if (process.geteuid?.() !== 0) {
          throw new Failure(
            exitCodes.failed,
            'not_root',
            'entering a namespace needs root: run `sudo weft sandbox exec`',
          );
        }
        await showFiles(sandbox);
        context.exit(await enter(sandbox.NetnsPath, words));
      }),
    );
}

/** As `ip netns exec` does it, whose own exit codes are others than ours, and which knows no adopted namespaces. */
async function showFiles({ HostnamePath, HostsPath, ResolvConfPath }: Sandbox): Promise<void> {
  // Loaded here alone: other commands need no native code.
  const { coverFiles } = await import('../../daemon/libc.ts');
  const files = { '/etc/hostname': HostnamePath, '/etc/hosts': HostsPath, '/etc/resolv.conf': ResolvConfPath };
  try {
    coverFiles(new Map(Object.entries(files)));
  } catch (error) {
    throw new Failure(exitCodes.failed, 'files', `the sandbox's files: ${(error as Error).message}`);
  }
}

const passed = ['SIGTERM', 'SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;

function enter(netnsPath: string, words: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    // A terminal sends these two to the command as well: passing them on would give it each one twice.
    const atTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
    const pass = (signal: NodeJS.Signals) => {
      if (!(atTerminal && (signal === 'SIGINT' || signal === 'SIGQUIT'))) child.kill(signal);
    };
    // Before there is a command: a signal that it provokes with its first word would end this process instead, and leave
    // the command to itself.
    for (const signal of passed) process.on(signal, pass);
    const child = spawn('nsenter', [`--net=${netnsPath}`, '--', ...words], { stdio: 'inherit' });
    const done = () => {
      for (const signal of passed) process.off(signal, pass);
    };
    child.on('error', (error) => {
      done();
      reject(new Failure(exitCodes.failed, 'nsenter', `starting nsenter: ${error.message}`, 'It is in util-linux.'));
    });
    child.on('close', (code, signal) => {
      done();
      // What a shell makes of a command that died by a signal.
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}
