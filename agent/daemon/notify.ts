import { sendDatagram } from './libc.ts';

/** Tells the service manager how the agent stands (sd_notify(3)); nothing happens without one. */
export class ServiceNotifier implements Disposable {
  readonly #socket: string | undefined;
  #watchdog: NodeJS.Timeout | undefined;

  constructor(environment: NodeJS.ProcessEnv) {
    this.#socket = environment['NOTIFY_SOCKET'];
    const watchdogUsec = Number(environment['WATCHDOG_USEC']);
    const forUs = environment['WATCHDOG_PID'] === undefined || Number(environment['WATCHDOG_PID']) === process.pid;
    if (this.#socket !== undefined && watchdogUsec > 0 && forUs) {
      // Half the limit, as sd_watchdog_enabled(3) advises; a blocked event loop sends nothing.
      this.#watchdog = setInterval(() => this.#send('WATCHDOG=1'), watchdogUsec / 2000);
      this.#watchdog.unref();
    }
  }

  ready(status: string): void {
    this.#send(`READY=1\nSTATUS=${status}`);
  }

  status(status: string): void {
    this.#send(`STATUS=${status}`);
  }

  stopping(): void {
    this.#send('STOPPING=1');
  }

  [Symbol.dispose](): void {
    clearInterval(this.#watchdog);
  }

  #send(text: string): void {
    if (this.#socket === undefined) return;
    try {
      sendDatagram(this.#socket, text);
    } catch {
      // The service manager went away: nobody to tell.
    }
  }
}

/** Of a unit's sockets, the first in LISTEN_FDS (sd_listen_fds(3)). */
const firstFd = 3;

/**
 * The descriptor of a socket that systemd holds for this process (sd_listen_fds(3)), by its FileDescriptorName=.
 * @returns null when there is none
 */
export function inheritedSocket(environment: NodeJS.ProcessEnv, pid: number, name: string): number | null {
  const { LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES = '' } = environment;
  const count = Number(LISTEN_FDS);
  if (LISTEN_PID !== String(pid) || !Number.isInteger(count)) return null;
  const at = LISTEN_FDNAMES.split(':').indexOf(name);
  return at < 0 || at >= count ? null : firstFd + at;
}
