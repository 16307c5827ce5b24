import type { Command } from 'commander';
import type { MeshKey } from '../../api/schema.ts';
import { define } from '../define.ts';
import type { Session } from '../session.ts';
import { fields } from '../text.ts';
import { addRotateFlags, progress, type RotateFlags, settled } from './rotation.ts';

/** `weft mesh-key`. */
export function addMeshKey(parent: Command, session: Session): void {
  const meshKey = define(parent, 'mesh-key', {
    summary: 'Show which key opens the mesh to a node, before its certificate is looked at, or change it',
    examples: ['weft mesh-key', 'weft mesh-key rotate'],
  }).action(
    session.action(async (context) => {
      const reply = await context.client.call('meshKey');
      context.document(reply);
      context.print(render(reply));
    }),
  );
  const rotate = define(meshKey, 'rotate', {
    summary: 'Make a new key and hand it to all nodes; the old one counts until all have it',
    details: 'Also done by itself after a node was removed, since that one knows the key.',
    examples: ['weft mesh-key rotate', 'weft mesh-key rotate --finish'],
  });
  addRotateFlags(rotate).action(
    session.action<RotateFlags>(async (context, flags) => {
      const body = { Force: flags.force ?? false, Finish: flags.finish ?? false };
      const begun = await context.client.call('rotateMeshKey', { body });
      const reply = await settled(context, 'mesh key', begun, flags, () => context.client.call('meshKey'));
      context.document(reply);
      context.print(render(reply));
    }),
  );
}

function render(reply: MeshKey): string {
  return fields([
    ['Key', reply.Digest],
    [reply.Rotating ? 'Changing' : 'In force on', progress(reply)],
  ]);
}
