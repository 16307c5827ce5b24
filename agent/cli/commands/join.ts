import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { define } from '../define.ts';
import { exitCodes, Failure, usage } from '../failure.ts';
import { once } from '../parse.ts';
import type { Io, Session } from '../session.ts';
import { type AddressFlags, addAddressing, addressing, membershipMs } from './addressing.ts';

interface Flags extends AddressFlags {
  readonly token?: string;
  readonly tokenFile?: string;
}

/** `weft join`. */
export function addJoin(parent: Command, session: Session): void {
  const command = define(parent, 'join', {
    summary: 'Join a cluster with a token',
    details:
      'The managers named are asked in order. While it runs, a token on the command line can be seen by every user of\n' +
      'the host: --token-file keeps it to those who can read the file.',
    examples: [
      'weft join --token WFTKN-1-… 192.0.2.10:2377',
      'weft join --token-file /root/token --advertise-addr 192.0.2.11 192.0.2.10 192.0.2.12',
      'ssh root@192.0.2.10 weft join-token -q worker | weft join --token-file - 192.0.2.10',
    ],
  });
  addAddressing(command.argument('<host[:port]...>', 'managers'))
    .option('--token <token>', 'join token', once)
    .option('--token-file <file>', 'file that holds the join token; - is standard input', once)
    .action(
      session.action<Flags>(async (context, flags, managers) => {
        const reply = await context.progress(
          `Joining by ${managers.join(', ')}`,
          context.client.call('join', {
            body: { ...addressing(flags), RemoteAddrs: managers, JoinToken: await readToken(flags, context.io) },
            timeoutMs: membershipMs,
          }),
        );
        context.document(reply);
        context.print(`This node joined a cluster as a ${reply.Role}.\n`);
      }),
    );
}

async function readToken(flags: Flags, io: Io): Promise<string> {
  const { token, tokenFile } = flags;
  if (token !== undefined && tokenFile !== undefined) throw usage('--token and --token-file exclude each other');
  const text = token ?? (await readTokenFile(tokenFile, io));
  if (text.trim() === '') throw usage(`the join token in ${tokenFile ?? '--token'} is empty`);
  return text.trim();
}

async function readTokenFile(path: string | undefined, io: Io): Promise<string> {
  if (path === undefined) {
    throw usage('a join token is needed: --token or --token-file', 'A manager shows it: `weft join-token worker`.');
  }
  if (path === '-') return readAll(io.stdin);
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Failure(exitCodes.failed, 'token_file', `reading the join token: ${why}`);
  }
}

async function readAll(stream: Io['stdin']): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk));
  return Buffer.concat(chunks).toString('utf8');
}
