import type { Command } from 'commander';
import type { Ca } from '../../api/schema.ts';
import { define } from '../define.ts';
import { duration } from '../parse.ts';
import type { Session } from '../session.ts';
import { fields, duration as inWords } from '../text.ts';
import { addRotateFlags, progress, type RotateFlags, settled } from './rotation.ts';

interface CaRotateFlags extends RotateFlags {
  readonly certExpiry?: number;
}

/** `weft ca`. */
export function addCa(parent: Command, session: Session): void {
  const ca = define(parent, 'ca', {
    summary: 'Show the root that certificates of nodes are of, or change it',
    examples: ['weft ca', 'weft ca --pem > root.pem', 'weft ca rotate'],
  })
    .option('--pem', 'the root certificate alone')
    .action(
      session.action<{ pem?: boolean }>(async (context, { pem }) => {
        const reply = await context.client.call('ca');
        context.document(reply);
        context.print(pem ? reply.RootCertificate : render(reply));
      }),
    );
  const rotate = define(ca, 'rotate', {
    summary: 'Make a new root; all nodes get certificates of it while they run',
    details: `Join tokens are replaced, since they pin the root. Nodes that are off meanwhile follow by the old root's
signature when they come back.`,
    examples: ['weft ca rotate', 'weft ca rotate --cert-expiry 720h', 'weft ca rotate --finish'],
  });
  addRotateFlags(rotate)
    .option('--cert-expiry <duration>', 'how long certificates of nodes last from now on, such as 2160h', duration)
    .action(
      session.action<CaRotateFlags>(async (context, flags) => {
        const body = { Force: flags.force ?? false, Finish: flags.finish ?? false, NodeCertExpiryMs: flags.certExpiry };
        const begun = await context.client.call('rotateCa', { body });
        const reply = await settled(context, 'root', begun, flags, () => context.client.call('ca'));
        context.document(reply);
        context.print(render(reply));
      }),
    );
}

function render(reply: Ca): string {
  return fields([
    ['Root', reply.RootDigest],
    ['Root ends', reply.NotAfter],
    ['Certificates last', inWords(reply.NodeCertExpiryMs)],
    [reply.Rotating ? 'Changing' : 'In force on', progress(reply)],
  ]);
}
