import type { Logger } from './log.ts';

/**
 * What nobody catches, an exception or the failure of a promise, is a bug, and leaves a state that nobody thought of. One
 * line of the log says what it was, and the agent ends: systemd starts it anew, and forwarding goes on meanwhile.
 */
export function endWhenUncaught(log: Pick<Logger, 'fatal'>): void {
  process.on('uncaughtException', (error, origin) => {
    log.fatal({ err: error, origin }, 'an error that nobody expected ends the agent');
    process.exit(1);
  });
}
