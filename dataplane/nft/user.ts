import { SystemError } from '../rtnetlink/libc.ts';
import { NftSocket } from '../rtnetlink/nft-tables.ts';
import { type DesiredTable, tableName, UNTOUCHED, USER_TABLE } from './tables.ts';

/** Ours come at `filter`: what is dropped here has got no further, and what is let through has still to pass those. */
export const USER_CHAIN = 'forward';

/**
 * Where the host's owner puts rules on what is forwarded, published ports among it: they stay, whatever becomes of ours. Made
 * where it is missing, and only added to what is there: who has made it meanwhile keeps it.
 */
export const userTable: DesiredTable = {
  ...{ table: USER_TABLE, digest: UNTOUCHED, elements: new Map() },
  script:
    `table ${tableName(USER_TABLE)} {\n  chain ${USER_CHAIN} {\n` +
    '    type filter hook forward priority filter - 5;\n  }\n}\n',
};

/** Removes the table unless somebody has put something in it by now, which the kernel decides. Rejects with SystemError. */
export async function deleteUserTable(): Promise<void> {
  using socket = new NftSocket(null);
  await socket.deleteBare(USER_TABLE, USER_CHAIN);
}

/** What of the host's owner stays when all that is ours goes, in words; empty for nothing. Throws SystemError. */
export async function leftToUser(): Promise<string[]> {
  try {
    using socket = new NftSocket(null);
    const name = tableName(USER_TABLE);
    if ((await socket.comments(USER_TABLE)) === null) return [];
    return [`nft table ${name} is not as it was made and stays: \`nft delete table ${name}\` removes it`];
  } catch (error) {
    // A kernel without nftables has no table.
    if (error instanceof SystemError) return [];
    throw error;
  }
}
