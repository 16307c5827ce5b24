import { connect } from 'node:net';
import { parseHostPort } from './address.ts';
import type { Knock } from './transport.ts';

/**
 * Asks the kernel behind an address whether a program listens there: connects and hangs up. Says more than a failed dial
 * does, and at once: a kernel refuses where no agent runs, and accepts for an agent that is too busy to do it itself.
 * @param addresses `IP:PORT`, all tried at once; the best answer counts
 */
export async function knock(addresses: readonly string[], signal: AbortSignal): Promise<Knock> {
  const answers = await Promise.all(addresses.map((address) => knockOne(address, signal)));
  return answers.find((each) => each === 'accepted') ?? answers.find((each) => each === 'refused') ?? 'silent';
}

function knockOne(address: string, signal: AbortSignal): Promise<Knock> {
  const target = parseHostPort(address);
  if (target === null || signal.aborted) return Promise.resolve('silent');
  return new Promise((resolve) => {
    const socket = connect(target);
    const done = (answer: Knock): void => {
      signal.removeEventListener('abort', giveUp);
      socket.destroy();
      resolve(answer);
    };
    // An answer may wait in the kernel while this process was late: it is read before the silence counts.
    const giveUp = (): void => void setImmediate(() => setImmediate(() => done('silent')));
    signal.addEventListener('abort', giveUp);
    socket.once('connect', () => done('accepted'));
    socket.once('error', (error: NodeJS.ErrnoException) => done(error.code === 'ECONNREFUSED' ? 'refused' : 'silent'));
  });
}
