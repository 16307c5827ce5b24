import type { Command } from 'commander';
import type { Ca, MeshKey } from '../../api/schema.ts';
import { exitCodes, Failure } from '../failure.ts';
import { seconds } from '../parse.ts';
import type { Context } from '../session.ts';
import { count } from '../text.ts';

// What `weft ca rotate` and `weft mesh-key rotate` share.

export interface RotateFlags {
  readonly detach?: boolean;
  readonly force?: boolean;
  readonly finish?: boolean;
  readonly timeout: number;
}

type Progress = Pick<Ca | MeshKey, 'Rotating' | 'Nodes' | 'Missing'>;

const pollMs = 300;

export function addRotateFlags(command: Command): Command {
  return command
    .option('-d, --detach', 'do not wait until all nodes have it')
    .option('-f, --force', 'begin another change although one is under way')
    .option('--finish', 'end the change that is under way, without the nodes that are missing')
    .option('--timeout <seconds>', 'how long to wait; the change goes on when the time is over', seconds, 120);
}

/** Waits until no node is missing. @throws Failure when that takes longer than the flags allow */
export async function settled<Reply extends Progress>(
  context: Context,
  what: string,
  first: Reply,
  flags: RotateFlags,
  ask: () => Promise<Reply>,
): Promise<Reply> {
  const untilMs = performance.now() + flags.timeout * 1000;
  const wait = async (): Promise<Reply> => {
    for (let reply = first; ; reply = await ask()) {
      if (!reply.Rotating) return reply;
      if (performance.now() >= untilMs) throw late(what, reply, flags.timeout);
      await new Promise((resolve) => setTimeout(resolve, pollMs));
    }
  };
  return flags.detach ? first : context.progress(`Waiting for all nodes to have the new ${what}`, wait());
}

function late(what: string, { Missing: missing, Nodes: nodes }: Progress, timeout: number): Failure {
  const names = missing.map(({ Hostname: name, ID: id }) => name || id).join(', ');
  return new Failure(
    exitCodes.timedOut,
    'rotation_under_way',
    `${missing.length} of ${count(nodes, 'node')} lack the new ${what} after ${timeout} s: ${names || 'none, but it is not finished yet'}`,
    "it goes on by itself; with --finish it ends without them, and they come back by a manager's join port",
  );
}

/** `3 of 4 nodes have it; not yet: host3`. */
export function progress({ Rotating: rotating, Nodes: nodes, Missing: missing }: Progress): string {
  if (!rotating) return `all of ${count(nodes, 'node')}`;
  const names = missing.map(({ Hostname: name, ID: id }) => name || id).join(', ');
  return `${nodes - missing.length} of ${count(nodes, 'node')}${names === '' ? '' : `; not yet: ${names}`}`;
}
