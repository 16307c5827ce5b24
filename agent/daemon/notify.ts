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
