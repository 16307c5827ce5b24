import type { Command } from 'commander';
import type { SelfTestReply } from '../../api/schema.ts';
import { define } from '../define.ts';
import { exitCodes, Failure } from '../failure.ts';
import type { Session } from '../session.ts';
import { count, oneLine, table } from '../text.ts';

/** A path that fails takes some seconds, several are tested at once; the rest is for a busy host. */
const limitMs = 120_000;

/** `weft self-test`. */
export function addSelfTest(parent: Command, session: Session): void {
  define(parent, 'self-test', {
    summary: 'Send packets through VXLAN to other nodes and back',
    details:
      'A small packet, one that fills the MTU, and TCP, from this node on the ingress network to each other node there. The' +
      ' agent does so by itself when a node comes; `weft status` shows what failed. Exits with 1 if a path fails now.',
    examples: ['weft self-test', 'weft self-test host-2', "weft self-test --json | jq '.Results[].State'"],
  })
    .argument('[node...]', 'hostnames, ids or starts of ids (default: all other nodes)')
    .action(
      session.action(async (context, _flags, nodes) => {
        const reply = await context.progress(
          'Testing the data path',
          context.client.call('selfTest', { body: { Nodes: nodes }, timeoutMs: limitMs }),
        );
        context.document(reply);
        context.print(render(reply));
        const failed = reply.Results.filter(({ State: state }) => state === 'failed');
        if (failed.length === 0) return;
        const names = failed.map(({ Hostname: hostname }) => hostname).join(', ');
        throw new Failure(
          exitCodes.failed,
          'data_path_fails',
          `${count(failed.length, 'path')} of ${reply.Results.length} failed: ${names}`,
        );
      }),
    );
}

function render({ Results: results, SoftwareChecksums: software }: SelfTestReply): string {
  if (results.length === 0) return 'There is no other node.\n';
  const rows = results.map((each) => [
    each.Hostname,
    each.DataPathAddr,
    each.RTTMilliseconds === null ? '-' : `${each.RTTMilliseconds.toFixed(2)} ms`,
    each.State === 'ok' ? `ok (up to ${each.Bytes} bytes)` : oneLine(`${each.State}: ${each.Message}`),
  ]);
  const note = software ? 'Checksums are made in software on this host: its network card spoils them.\n' : '';
  return table(['NODE', 'DATA PATH', 'RTT', 'RESULT'], rows) + note;
}
