import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { z } from 'zod';
import { BodyTooLargeError, readBody } from '../http-body.ts';
import { type RouteName, requestLines } from './request-lines.ts';
import type { routes } from './routes.ts';

/** What `body` of a call may hold: defaults of the schema may be left out. */
export type RequestBody<N extends RouteName> = z.input<(typeof routes)[N]['body']>;
/** What a call resolves to. */
export type Reply<N extends RouteName> = z.output<(typeof routes)[N]['reply']>;

/** Options of one call. */
export interface CallOptions<N extends RouteName> {
  /** Name, id or start of an id, for routes with `:ref` in their path. */
  readonly ref?: string;
  readonly body?: RequestBody<N>;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly signal?: AbortSignal;
  /** Time limit of this call. @default the client's */
  readonly timeoutMs?: number;
}

/** The agent understood the request, or tried to, and refused or failed it. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  constructor(
    /** HTTP status. */
    readonly status: number,
    /** Stable identifier, e.g. `network_not_found`. */
    readonly code: string,
    message: string,
    /** What to do next. */
    readonly hint?: string,
  ) {
    super(message);
  }
}

/** Nothing listens on the socket. */
export class NoAgentError extends Error {
  override readonly name = 'NoAgentError';
  readonly code = 'no_agent';
  constructor(socketPath: string, options?: ErrorOptions) {
    super(`no agent is running at ${socketPath}: start it with \`systemctl start weft\` or \`weft agent\``, options);
  }
}

/** The socket is there, but not for this user. */
export class NoPermissionError extends Error {
  override readonly name = 'NoPermissionError';
  readonly code = 'no_permission';
  constructor(socketPath: string, options?: ErrorOptions) {
    super(`no permission for ${socketPath}: run as root or as a member of group weft`, options);
  }
}

/** The agent took longer than the time limit of the call; what it was asked to do may still happen. */
export class TimeoutError extends Error {
  override readonly name = 'TimeoutError';
  readonly code = 'timeout';
}

/** The reply was cut off or is not one of this API. */
export class BadReplyError extends Error {
  override readonly name = 'BadReplyError';
  readonly code = 'bad_reply';
}

// A full table of 100,000 endpoints is about 40 MB; more than this is not our agent.
const replyMaxBytes = 64 * 1024 * 1024;

/** Client of the local API on a unix socket. Holds no connection between calls. */
export class LocalClient {
  readonly socketPath: string;
  readonly #timeoutMs: number;

  /** @param options.timeoutMs time limit of each call. @default 30000 */
  constructor(options: { readonly socketPath: string; readonly timeoutMs?: number }) {
    this.socketPath = options.socketPath;
    this.#timeoutMs = options.timeoutMs ?? 30_000;
  }

  /**
   * Makes one request. The agent is trusted to send what the schema says; only the frame of the reply is checked.
   * @throws ApiError, NoAgentError, NoPermissionError, TimeoutError, BadReplyError; the signal's reason when aborted
   */
  async call<N extends RouteName>(name: N, options: CallOptions<N> = {}): Promise<Reply<N>> {
    const { method, path } = target(requestLines[name], options.ref, options.query);
    const timeoutMs = options.timeoutMs ?? this.#timeoutMs;
    const limit = AbortSignal.timeout(timeoutMs);
    const signal = options.signal === undefined ? limit : AbortSignal.any([limit, options.signal]);
    const body = options.body === undefined ? undefined : JSON.stringify(options.body);
    try {
      const { status, text } = await exchange({ socketPath: this.socketPath, method, path, body, signal });
      return this.#read(status, text) as Reply<N>;
    } catch (error) {
      if (options.signal?.aborted) throw options.signal.reason;
      if (limit.aborted) {
        const what = `the agent at ${this.socketPath} did not answer ${method} ${path} within ${timeoutMs / 1000} s`;
        throw new TimeoutError(what, { cause: error });
      }
      throw this.#explain(error);
    }
  }

  #read(status: number, text: string): object {
    const reply = status === 204 && text === '' ? {} : parseObject(text);
    if (status >= 200 && status < 300) {
      if (reply !== undefined) return reply;
      throw new BadReplyError(`what listens at ${this.socketPath} did not answer with JSON: is it a Weft agent?`);
    }
    throw refusal(status, reply);
  }

  #explain(error: unknown): unknown {
    if (error instanceof ApiError || error instanceof BadReplyError) return error;
    switch (errnoOf(error)) {
      case 'ENOENT':
      case 'ECONNREFUSED':
      case 'ENOTDIR':
      case 'ENOTSOCK':
        return new NoAgentError(this.socketPath, { cause: error });
      case 'EACCES':
      case 'EPERM':
        return new NoPermissionError(this.socketPath, { cause: error });
      case 'ECONNRESET':
      case 'EPIPE':
        return new BadReplyError(`the agent at ${this.socketPath} closed the connection before it had answered`, {
          cause: error,
        });
      default: {
        const why = error instanceof Error ? error.message : String(error);
        return new BadReplyError(`talking to ${this.socketPath}: ${why}`, { cause: error });
      }
    }
  }
}

function target(line: string, ref: string | undefined, query: Readonly<Record<string, string | undefined>> = {}) {
  const [method = '', pattern = ''] = line.split(' ');
  let path = pattern;
  if (pattern.includes(':ref')) {
    // An empty or dotted segment would name another route once the server has normalised the path.
    if (ref === undefined || /^\.{0,2}$/.test(ref)) {
      throw new ApiError(400, 'invalid_reference', `"${ref ?? ''}" is not a name, an id or the start of an id`);
    }
    path = pattern.replace(':ref', () => encodeURIComponent(ref));
  }
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) params.set(key, value);
  return { method, path: params.size > 0 ? `${path}?${params}` : path };
}

interface Exchange {
  readonly socketPath: string;
  readonly method: string;
  readonly path: string;
  readonly body: string | undefined;
  readonly signal: AbortSignal;
}

async function exchange(input: Exchange): Promise<{ status: number; text: string }> {
  const { socketPath, method, path, body, signal } = input;
  // Loaded here because help, completion of words and usage errors need no connection.
  const [{ request }, { connect }] = await Promise.all([import('node:http'), import('node:net')]);
  const headers: Record<string, string | number> = { Host: 'weft', Accept: 'application/json' };
  if (body !== undefined) {
    headers['Content-Type'] = 'application/json';
    headers['Content-Length'] = Buffer.byteLength(body);
  }
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    // Without an agent of HTTP, which takes 5 ms of a command's 40 to prepare for a server that has a name.
    const createConnection = (): Socket => connect(socketPath);
    const outgoing = request({ createConnection, method, path, headers, signal }, resolve);
    outgoing.on('error', reject);
    outgoing.end(body);
  });
  try {
    return { status: response.statusCode ?? 0, text: await readBody(response, replyMaxBytes) };
  } catch (cause) {
    if (cause instanceof BodyTooLargeError) {
      const what = `the reply to ${method} ${path} is larger than ${replyMaxBytes} bytes`;
      throw new BadReplyError(what, { cause });
    }
    throw cause;
  }
}

function parseObject(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

function refusal(status: number, reply: object | undefined): ApiError {
  const { code, message, hint } = (reply ?? {}) as { code?: unknown; message?: unknown; hint?: unknown };
  return new ApiError(
    status,
    typeof code === 'string' ? code : 'unknown',
    typeof message === 'string' ? message : `the agent answered HTTP ${status} without saying why`,
    typeof hint === 'string' ? hint : undefined,
  );
}

function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}
