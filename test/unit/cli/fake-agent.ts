import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RouteName } from '../../../agent/api/request-lines.ts';
import { routes } from '../../../agent/api/routes.ts';
import { replies } from './replies.ts';

/** One request as it came over the wire. */
export interface Seen {
  readonly name: RouteName;
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
}

/** An answer other than the canned one. */
export interface Answer {
  readonly status: number;
  /** Sent as JSON, or as it is when a string. */
  readonly body: unknown;
}

/**
 * An HTTP server on a unix socket that answers as the contract says: it refuses bodies and queries that the schema does
 * not have, and its own replies pass the schema too.
 */
export class FakeAgent implements AsyncDisposable {
  readonly socketPath: string;
  readonly seen: Seen[] = [];
  /** Answers by route, in place of the canned ones; `hang` never answers, `cut` closes the connection. */
  readonly answers = new Map<RouteName, Answer | 'hang' | 'cut' | ((seen: Seen) => Answer)>();
  readonly #directory: string;
  readonly #server = createServer((request, response) => void this.#serve(request, response));

  private constructor(directory: string) {
    this.#directory = directory;
    this.socketPath = join(directory, 'weft.sock');
  }

  static async start(): Promise<FakeAgent> {
    const agent = new FakeAgent(await mkdtemp(join(tmpdir(), 'weft-cli-')));
    await new Promise<void>((resolve) => agent.#server.listen(agent.socketPath, resolve));
    return agent;
  }

  /** A refusal as the agent words them. */
  refuse(name: RouteName, status: number, code: string, message: string, hint?: string): void {
    this.answers.set(name, { status, body: { code, message, ...(hint === undefined ? {} : { hint }) } });
  }

  /** Closes all connections, with whatever is under way on them. */
  drop(): void {
    this.#server.closeAllConnections();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.drop();
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    const { method = '', url = '' } = request;
    const name = nameOf(method, url);
    if (name === undefined) return send(response, 404, { code: 'no_route', message: `no route for ${method} ${url}` });
    const body: unknown = text === '' ? undefined : JSON.parse(text);
    const checked = routes[name].body.safeParse(body ?? {});
    if (!checked.success) return send(response, 400, { code: 'bad_body', message: checked.error.message });
    const seen = { name, method, path: url, body };
    this.seen.push(seen);
    const answer = this.answers.get(name);
    if (answer === 'hang') return;
    if (answer === 'cut') return void response.destroy();
    const given = typeof answer === 'function' ? answer(seen) : answer;
    if (given !== undefined) return send(response, given.status, given.body);
    send(response, 200, routes[name].reply.parse(replies[name]));
  }
}

function nameOf(method: string, url: string): RouteName | undefined {
  const { pathname, searchParams } = new URL(url, 'http://weft');
  return (Object.keys(routes) as RouteName[]).find((name) => {
    const route = routes[name];
    const pattern = new RegExp(`^${route.path.replace(':ref', '[^/]+')}$`);
    const queryKnown = [...searchParams.keys()].every((key) => route.query.includes(key));
    return route.method === method && pattern.test(pathname) && queryKnown;
  });
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}
