import { type IncomingMessage, request } from 'node:http';
import { z } from 'zod';
import { BodyTooLargeError, readBody } from '../http-body.ts';
import { DockerError, explainConnection } from './errors.ts';
import { EventLines, type UnreadableEvent } from './events.ts';
import { Limit } from './limit.ts';
import {
  Container,
  Created,
  type DockerContainer,
  type DockerContainerSummary,
  type DockerEvent,
  type DockerInfo,
  type DockerNetwork,
  Info,
  ListedContainers,
  Network,
  Networks,
  readReply,
  Version,
} from './shapes.ts';
import { defaultDockerSocket } from './socket.ts';
import { chooseVersion } from './version.ts';

// Docker makes a network by asking its driver, which may be us, and holds locks while it starts containers.
const callTimeoutMs = 30_000;
// 2 kB a container in a list: room for 10,000 of them.
const replyMaxBytes = 32 * 1024 * 1024;
// A little earlier than asked for: an event twice is harmless, one that is lost is not.
const slackMs = 1;

/** As Docker's `filters`: all keys must match, with any of their values, e.g. `{ driver: ['weft'] }`. */
export type Filters = Readonly<Record<string, readonly string[]>>;

export interface NetworkSpec {
  readonly name: string;
  readonly driver: string;
  readonly internal?: boolean;
  readonly attachable?: boolean;
  readonly ipv6?: boolean;
  readonly options?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly ipam?: {
    readonly driver?: string;
    readonly options?: Readonly<Record<string, string>>;
    readonly pools?: readonly {
      readonly subnet: string;
      readonly ipRange?: string;
      readonly gateway?: string;
      readonly auxiliary?: Readonly<Record<string, string>>;
    }[];
  };
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** @default the client's */
  readonly timeoutMs?: number;
}

export interface EventOptions {
  /** Wall clock, milliseconds. What Docker still has of since then comes first: its last 256 events, none older than itself. @default now */
  readonly sinceMs?: number;
  /** @default container and network */
  readonly types?: readonly ('container' | 'network')[];
  /** Ends the stream. */
  readonly signal: AbortSignal;
}

interface Call extends CallOptions {
  readonly method?: 'GET' | 'POST' | 'DELETE';
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: object;
}

/**
 * Docker's Engine API on its unix socket. Each call has a connection of its own and a limit in time and in size; the
 * version is agreed on at the first one, and again after Docker was away. All methods throw DockerError, or the signal's
 * reason when that ended the call.
 */
export class DockerClient {
  readonly socketPath: string;
  readonly #timeoutMs: number;
  readonly #replyMaxBytes: number;
  #version: string | undefined;

  constructor(options: { readonly socketPath?: string; readonly timeoutMs?: number; readonly replyMaxBytes?: number }) {
    this.socketPath = options.socketPath ?? defaultDockerSocket;
    this.#timeoutMs = options.timeoutMs ?? callTimeoutMs;
    this.#replyMaxBytes = options.replyMaxBytes ?? replyMaxBytes;
  }

  /** Whether Docker answers: returns when it does. While it starts, it takes the call and answers once it is ready. */
  async ping(options: CallOptions = {}): Promise<void> {
    const { status, body } = await this.#exchange('ping', '/_ping', options);
    // Its body is the word OK.
    if (status !== 200) readReply('ping', { status, body }, z.never());
  }

  async version(options: CallOptions = {}): Promise<z.output<typeof Version>> {
    return readReply('version', await this.#exchange('version', '/version', options), Version);
  }

  info(options: CallOptions = {}): Promise<DockerInfo> {
    return this.#call('info', '/info', Info, options);
  }

  /** Filters: `driver`, `name` (a part of it will do), `id`, `label`, `scope`, `type`. Without their containers. */
  networks(filters: Filters = {}, options: CallOptions = {}): Promise<DockerNetwork[]> {
    return this.#call('list networks', '/networks', Networks, { ...options, query: filterQuery(filters) });
  }

  /** @param ref name, id or start of an id */
  async network(ref: string, options: CallOptions = {}): Promise<DockerNetwork> {
    return await this.#call(`inspect network ${ref}`, `/networks/${segment(ref)}`, Network, options);
  }

  /**
   * Makes a network; refused with 409 when there is one of that name, which Docker would else do twice.
   * @returns its id
   */
  async createNetwork(spec: NetworkSpec, options: CallOptions = {}): Promise<string> {
    const body = networkBody(spec);
    const what = `create network ${spec.name}`;
    return (await this.#call(what, '/networks/create', Created, { ...options, method: 'POST', body })).id;
  }

  /** Refused with 403 while containers are on it, with 404 when there is none. */
  async removeNetwork(ref: string, options: CallOptions = {}): Promise<void> {
    const path = `/networks/${segment(ref)}`;
    await this.#call(`remove network ${ref}`, path, z.unknown(), { ...options, method: 'DELETE' });
  }

  /**
   * Puts a container on a network, besides those that it is on. Refused with 403 or 500 when it is there already.
   * @param network, container names, ids or starts of ids
   */
  async connect(
    network: string,
    container: string,
    { aliases = [], ...options }: CallOptions & { readonly aliases?: readonly string[] } = {},
  ): Promise<void> {
    const body = { Container: container, EndpointConfig: { Aliases: aliases } };
    const path = `/networks/${segment(network)}/connect`;
    await this.#call(`connect ${container} to network ${network}`, path, z.unknown(), {
      ...{ ...options, method: 'POST', body },
    });
  }

  /** Takes a container off a network. */
  async disconnect(network: string, container: string, options: CallOptions = {}): Promise<void> {
    const path = `/networks/${segment(network)}/disconnect`;
    const call = { ...options, method: 'POST', body: { Container: container, Force: false } } as const;
    await this.#call(`disconnect ${container} from network ${network}`, path, z.unknown(), call);
  }

  /** Filters: `network`, `status`, `label`, `name`, `id`. Those that run, or with `all` the others, too. */
  containers(
    filters: Filters = {},
    { all, ...options }: CallOptions & { readonly all?: boolean } = {},
  ): Promise<DockerContainerSummary[]> {
    const query = { ...filterQuery(filters), all: all ? 'true' : undefined };
    return this.#call('list containers', '/containers/json', ListedContainers, { ...options, query });
  }

  /** @param ref name, id or start of an id */
  async container(ref: string, options: CallOptions = {}): Promise<DockerContainer> {
    return await this.#call(`inspect container ${ref}`, `/containers/${segment(ref)}/json`, Container, options);
  }

  /**
   * What happens from a moment on. The promise resolves once Docker listens: what is listed after that lacks nothing that
   * no event tells. Read without delay: Docker drops events for a reader that is behind by more than 1024.
   *
   * Ends when the signal does. Else it throws DockerError: `ended` when Docker closes the connection, which it does when it
   * stops; it knows nothing of events before its start, so list again after that.
   */
  async events(options: EventOptions): Promise<AsyncIterable<DockerEvent | UnreadableEvent>> {
    const { signal, types = ['container', 'network'], sinceMs = Date.now() } = options;
    const query = { ...filterQuery({ type: types }), since: ((sinceMs - slackMs) / 1000).toFixed(6) };
    const limit = new Limit(this.#timeoutMs, signal);
    try {
      return await this.#guarded('events', limit, async () => {
        const path = `/v${await this.#negotiated({ signal })}/events${queryString(query)}`;
        const response = await this.#open(path, {}, limit.signal);
        const status = response.statusCode ?? 0;
        if (status !== 200) {
          readReply('events', { status, body: await readBody(response, this.#replyMaxBytes) }, z.never());
        }
        limit.endTime();
        // One that comes before the first read is told by that read.
        response.on('error', () => {});
        return this.#stream(response, limit);
      });
    } catch (error) {
      limit.clear();
      throw error;
    }
  }

  async *#stream(response: IncomingMessage, limit: Limit): AsyncGenerator<DockerEvent | UnreadableEvent, void> {
    const lines = new EventLines();
    let cause: unknown;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) yield* lines.push(chunk);
    } catch (error) {
      cause = error;
    } finally {
      response.destroy();
      limit.clear();
    }
    if (limit.aborted) return;
    this.#version = undefined;
    const what = `events: Docker at ${this.socketPath} closed the stream: it was stopped or started anew`;
    throw new DockerError('ended', what, { cause });
  }

  async #call<S extends z.ZodType>(what: string, path: string, shape: S, call: Call = {}): Promise<z.output<S>> {
    const once = async (): Promise<z.output<S>> => {
      const version = await this.#negotiated(call);
      return readReply(what, await this.#exchange(what, `/v${version}${path}`, call), shape);
    };
    try {
      return await once();
    } catch (error) {
      // Docker was started anew in another version since: it refused before it did anything.
      if (!(error instanceof DockerError && error.status === 400 && /client version/.test(error.message))) throw error;
      this.#version = undefined;
      return await once();
    }
  }

  async #negotiated({ signal, timeoutMs = this.#timeoutMs }: CallOptions): Promise<string> {
    this.#version ??= chooseVersion(await this.version({ timeoutMs, ...(signal === undefined ? {} : { signal }) }));
    return this.#version;
  }

  /** One request and its whole answer. */
  async #exchange(what: string, path: string, call: Call): Promise<{ status: number; body: string }> {
    const limit = new Limit(call.timeoutMs ?? this.#timeoutMs, call.signal);
    try {
      return await this.#guarded(what, limit, async () => {
        const response = await this.#open(path + queryString(call.query), call, limit.signal);
        return { status: response.statusCode ?? 0, body: await readBody(response, this.#replyMaxBytes) };
      });
    } finally {
      limit.clear();
    }
  }

  /** Runs what talks to Docker, and says in our words what it failed with. */
  async #guarded<T>(what: string, limit: Limit, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (cause) {
      if (limit.aborted) throw limit.reason;
      if (limit.late) {
        const why = `Docker at ${this.socketPath} did not answer within ${limit.timeoutMs / 1000} s`;
        throw new DockerError('timeout', `${what}: ${why}`, { cause });
      }
      if (cause instanceof DockerError) throw cause;
      this.#version = undefined;
      if (cause instanceof BodyTooLargeError)
        throw new DockerError('bad_reply', `${what}: ${cause.message}`, { cause });
      throw explainConnection(this.socketPath, what, cause);
    }
  }

  #open(path: string, { method = 'GET', body }: Call, signal: AbortSignal): Promise<IncomingMessage> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = {
      Host: 'docker',
      Accept: 'application/json',
      ...(text === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }),
    };
    return new Promise((resolve, reject) => {
      // No connection is kept: Docker may have been started anew since.
      const outgoing = request({ socketPath: this.socketPath, agent: false, method, path, headers, signal }, resolve);
      outgoing.on('error', reject);
      outgoing.end(text);
    });
  }
}

function filterQuery(filters: Filters): { filters?: string } {
  return Object.keys(filters).length === 0 ? {} : { filters: JSON.stringify(filters) };
}

function queryString(query: Readonly<Record<string, string | undefined>> = {}): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value !== undefined) params.set(key, value);
  return params.size > 0 ? `?${params}` : '';
}

/** A reference as a segment of a path. An empty or dotted one would name another route. */
function segment(ref: string): string {
  if (/^\.{0,2}$/.test(ref)) throw new DockerError('refused', `"${ref}" is not a name or an id`, { status: 400 });
  return encodeURIComponent(ref);
}

/** As `POST /networks/create` wants it. */
function networkBody(spec: NetworkSpec): object {
  const { ipam } = spec;
  return {
    Name: spec.name,
    CheckDuplicate: true,
    Driver: spec.driver,
    Internal: spec.internal ?? false,
    Attachable: spec.attachable ?? false,
    EnableIPv6: spec.ipv6 ?? false,
    Options: spec.options ?? {},
    Labels: spec.labels ?? {},
    IPAM: {
      Driver: ipam?.driver ?? 'default',
      Options: ipam?.options ?? {},
      Config: (ipam?.pools ?? []).map((pool) => ({
        Subnet: pool.subnet,
        ...(pool.ipRange === undefined ? {} : { IPRange: pool.ipRange }),
        ...(pool.gateway === undefined ? {} : { Gateway: pool.gateway }),
        ...(pool.auxiliary === undefined ? {} : { AuxiliaryAddresses: pool.auxiliary }),
      })),
    },
  };
}
