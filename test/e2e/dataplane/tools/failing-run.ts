// Stands in for apply/run.ts: commands of which any one may fail, before or after it has done what it is for.
import { CommandError, runIpNetns as ipNetns, runNft as nft } from '../../../../dataplane/apply/run.ts';
import { failing } from './failing-calls.ts';

export * from '../../../../dataplane/apply/run.ts';

export const runIpNetns: typeof ipNetns = (...args) => spoilt(`ip netns ${args.join(' ')}`, () => ipNetns(...args));
export const runNft: typeof nft = (...args) => spoilt('nft', () => nft(...args));

async function spoilt(command: string, run: () => Promise<void>): Promise<void> {
  const how = failing();
  if (how === 'time-out' || how === 'half a batch') await run();
  if (how !== null) throw new CommandError(command, `spoilt: ${how}`, null);
  await run();
}
