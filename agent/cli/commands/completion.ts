import { Argument, type Command } from 'commander';
import { LocalClient } from '../../api/client.ts';
import { defaultDockerSocket } from '../../docker/socket.ts';
import { type Candidate, candidates, wantedAt } from '../complete.ts';
import { define } from '../define.ts';
import { resolveSocket, type Session } from '../session.ts';
import { oneLine } from '../text.ts';
import { scripts } from './completion-scripts.ts';

// A person waits with a finger on the key.
const patienceMs = 500;

/** `weft completion`, and the hidden command that its scripts call. */
export function addCompletion(parent: Command, session: Session): void {
  define(parent, 'completion', {
    summary: 'Print a script that makes a shell complete our commands, options and names',
    examples: [
      'source <(weft completion bash)',
      'weft completion bash > /etc/bash_completion.d/weft',
      'weft completion zsh > /usr/local/share/zsh/site-functions/_weft',
      'weft completion fish > ~/.config/fish/completions/weft.fish',
    ],
  })
    .addArgument(new Argument('<shell>', 'the shell').choices(Object.keys(scripts)))
    .action(
      session.action((context, _flags, [shell = '']) => {
        const script = scripts[shell as keyof typeof scripts];
        context.document({ Shell: shell, Script: script });
        context.print(script);
      }),
    );

  // Prints `VALUE<tab>ABOUT` a line; `:file` alone means that the shell's own file names belong here.
  parent
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (words: string[]) => {
      const wanted = wantedAt(parent, words[0] === '--' ? words.slice(1) : words);
      const connect = (host: string | undefined) =>
        new LocalClient({ socketPath: resolveSocket(host, session.io.env), timeoutMs: patienceMs });
      const swarmNetworks = async (socketPath = defaultDockerSocket): Promise<Candidate[]> => {
        const { DockerClient } = await import('../../docker/client.ts');
        const all = await new DockerClient({ socketPath, timeoutMs: patienceMs }).networks({ scope: ['swarm'] });
        return all.map(({ name, driver }) => ({ value: name, about: driver }));
      };
      const found = await candidates(wanted, connect, swarmNetworks);
      const lines = wanted.kind === 'file' ? [':file'] : found.map(({ value, about }) => `${value}\t${oneLine(about)}`);
      session.io.stdout.write(lines.map((line) => `${line}\n`).join(''));
    });
}
