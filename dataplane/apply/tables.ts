import { elementBytes } from '../nft/elements.ts';
import { tableName, USER_TABLE } from '../nft/tables.ts';
import { deleteUserTable } from '../nft/user.ts';
import { NftSocket } from '../rtnetlink/nft-tables.ts';
import type { Step } from '../steps.ts';
import { runNft } from './run.ts';

type TableStep = Step & { readonly kind: 'table-replace' | 'table-delete' | 'elements' };

/** Makes or changes a table of nftables, wherever it is. Rejects with CommandError, SystemError or an error of node:fs. */
export async function changeTable(step: TableStep): Promise<void> {
  const { table } = step;
  const name = tableName(table);
  switch (step.kind) {
    case 'table-replace':
      return runNft(step.script, table.where);
    case 'table-delete':
      if (table === USER_TABLE) return await deleteUserTable();
      // Adding first makes the delete succeed when somebody was faster.
      return runNft(`add table ${name}\ndelete table ${name}\n`, table.where);
    case 'elements': {
      using socket = new NftSocket(table.where);
      const changes = step.changes.map(({ op, set, elements }) => {
        const kind = table.sets[set];
        if (kind === undefined) throw new Error(`${name} has no set ${set}`);
        return { op, set, elements: elements.map((text) => elementBytes(kind, text)) };
      });
      return await socket.change(table, changes);
    }
  }
}
