import { type DockerEvent, Event } from './shapes.ts';

/** A line that is no event, or longer than one may be: something happened, and nobody can say what. Look at everything. */
export interface UnreadableEvent {
  readonly type: 'unreadable';
  readonly reason: string;
}

// An event carries the labels of its container, and these are as long as their author likes.
const lineMaxBytes = 256 * 1024;
const newline = 0x0a;

/** One line of the stream, without its end. */
export function readEvent(line: string): DockerEvent | UnreadableEvent {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    return { type: 'unreadable', reason: 'not JSON' };
  }
  const parsed = Event.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  return { type: 'unreadable', reason: `${issue?.path.join('.').slice(0, 128) ?? ''}: ${issue?.message}` };
}

/**
 * Cuts a stream of bytes into events. Of a line that is longer than `maxBytes` nothing is kept; it is told as unreadable,
 * once, when its end comes.
 */
export class EventLines {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #sizeBytes = 0;

  constructor(maxBytes = lineMaxBytes) {
    this.#maxBytes = maxBytes;
  }

  /** The events that end within these bytes. */
  push(bytes: Buffer): (DockerEvent | UnreadableEvent)[] {
    const events: (DockerEvent | UnreadableEvent)[] = [];
    let from = 0;
    for (let end = bytes.indexOf(newline); end !== -1; end = bytes.indexOf(newline, from)) {
      this.#keep(bytes.subarray(from, end));
      from = end + 1;
      const event = this.#take();
      if (event !== undefined) events.push(event);
    }
    this.#keep(bytes.subarray(from));
    return events;
  }

  #keep(part: Buffer): void {
    this.#sizeBytes += part.length;
    if (this.#sizeBytes > this.#maxBytes) this.#parts = [];
    else if (part.length > 0) this.#parts.push(part);
  }

  #take(): DockerEvent | UnreadableEvent | undefined {
    const tooLong = this.#sizeBytes > this.#maxBytes;
    const line = Buffer.concat(this.#parts).toString('utf8').trim();
    this.#parts = [];
    this.#sizeBytes = 0;
    if (tooLong) return { type: 'unreadable', reason: `a line longer than ${this.#maxBytes} bytes` };
    return line === '' ? undefined : readEvent(line);
  }
}
