import { arch, platform } from 'node:os';
import type { Command } from 'commander';
import type { Version } from '../../api/schema.ts';
import { version } from '../../version.ts';
import { define } from '../define.ts';
import type { Context, Session } from '../session.ts';
import { fields, oneLine } from '../text.ts';

/** `weft version`. */
export function addVersion(parent: Command, session: Session): void {
  define(parent, 'version', {
    summary: 'Show the versions of this program and of the agent',
    examples: ['weft version', 'weft version --client'],
  })
    .option('--client', 'this program alone')
    .action(
      session.action<{ client?: boolean }>(async (context, flags) => {
        const client = { Version: version, NodeVersion: process.version, Os: platform(), Arch: arch() };
        const agent = flags.client ? undefined : await askAgent(context);
        const found = agent !== undefined && typeof agent !== 'string';
        context.document(agent === undefined ? { Client: client } : { Client: client, Agent: found ? agent : null });
        context.print(section('Client', client));
        if (found) context.print(`\n${section('Agent', agent)}`);
        else if (agent !== undefined) context.print(`\nAgent: not reachable: ${agent}\n`);
      }),
    );
}

// Says why there is no answer: that is worth a line here, not a failure.
async function askAgent({ client }: Context): Promise<Version | string> {
  try {
    return await client.call('version', { timeoutMs: 3_000 });
  } catch (error) {
    return oneLine(error instanceof Error ? error.message : String(error));
  }
}

function section(
  title: string,
  of: Pick<Version, 'Version' | 'NodeVersion' | 'Os' | 'Arch'> & Partial<Version>,
): string {
  const lines: [string, string][] = [
    ['Version', of.Version],
    ['Node.js', of.NodeVersion],
    ['OS/Arch', `${of.Os}/${of.Arch}`],
  ];
  if (of.ApiVersion !== undefined) lines.push(['API', of.ApiVersion]);
  if (of.KernelVersion !== undefined) lines.push(['Kernel', of.KernelVersion]);
  return `${title}:\n${fields(lines, '  ')}`;
}
