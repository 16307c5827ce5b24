import { chmodSync, chownSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createConnection } from 'node:net';
import { dirname, join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { issueText, toReply } from '../daemon/api-error.ts';
import type { Handlers } from '../daemon/calls/call.ts';
import type { Logger } from '../daemon/log.ts';
import { openApiDocument } from './openapi.ts';
import type { RouteName } from './request-lines.ts';
import { routes } from './routes.ts';

// The largest request is a network with 64 labels of 1 KiB.
const maxBodyBytes = 262_144;

/** The local API as a web application; what answers is handed in. */
export function makeApp(handlers: Handlers, log: Logger): Hono {
  const app = new Hono();
  app.use(
    bodyLimit({
      maxSize: maxBodyBytes,
      onError: (c) => c.json({ message: 'the request is too large', code: 'too_large' }, 413),
    }),
  );
  app.get('/v1/openapi.json', (c) => c.json(openApiDocument()));
  for (const name of Object.keys(routes) as RouteName[]) {
    const { method, path, body: shape, query: known } = routes[name];
    app.on(method, path, async (c) => {
      const text = await c.req.text();
      let json: unknown;
      try {
        json = text === '' ? {} : JSON.parse(text);
      } catch {
        return c.json({ message: 'the request body is not JSON', code: 'invalid' }, 400);
      }
      const body = shape.safeParse(json);
      if (!body.success) {
        return c.json({ message: issueText(body.error), code: 'invalid' }, 400);
      }
      const query = new Map(Object.entries(c.req.query()));
      const unknown = [...query.keys()].find((key) => !known.includes(key));
      if (unknown !== undefined) return c.json({ message: `unknown parameter ${unknown}`, code: 'invalid' }, 400);
      // The route's own schema has just checked the body that its handler gets.
      const handler = handlers[name] as (call: object) => unknown;
      return c.json(
        (await handler({ ref: c.req.param('ref') ?? '', body: body.data, query, signal: c.req.raw.signal })) as object,
      );
    });
  }
  app.notFound((c) =>
    c.json(
      {
        message: `${c.req.method} ${c.req.path} is no call of this API`,
        code: 'no_such_call',
        hint: 'GET /v1/openapi.json lists the calls',
      },
      404,
    ),
  );
  app.onError((error, c) => {
    const { expected, status, body } = toReply(error);
    if (!expected) log.error({ err: error, call: `${c.req.method} ${c.req.path}` }, 'a call of the local API failed');
    return c.json(body, status as ContentfulStatusCode);
  });
  return app;
}

/** What answers on the socket. */
export const listenerOf = (app: Hono): RequestListener => getRequestListener(app.fetch);

/**
 * Serves on a unix socket that has its owner, group and mode before its name is there for anyone to connect to.
 * @throws when another agent answers on the socket
 */
export async function serve(
  listener: RequestListener,
  socketPath: string,
  groupId: number | null,
): Promise<{ close: () => Promise<void> }> {
  if (await answers(socketPath)) throw new Error(`another agent is running at ${socketPath}`);
  mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 });
  const server = createServer(limits, listener);
  const hidden = join(dirname(socketPath), `.socket-${process.pid}`);
  rmSync(hidden, { recursive: true, force: true });
  mkdirSync(hidden, { mode: 0o700 });
  const fresh = join(hidden, 's');
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(fresh, resolve);
    });
    chownSync(fresh, 0, groupId ?? 0);
    chmodSync(fresh, 0o660);
    renameSync(fresh, socketPath);
  } catch (error) {
    // Left listening, it would keep the process from ending.
    server.close();
    throw error;
  } finally {
    rmSync(hidden, { recursive: true, force: true });
  }
  const { ino } = statSync(socketPath);
  return {
    close: () => {
      // A successor may have put its own socket there.
      if (statSync(socketPath, { throwIfNoEntry: false })?.ino === ino) rmSync(socketPath, { force: true });
      return closed(server);
    },
  };
}

/** The same on a socket that somebody else has made and keeps (systemd.socket(5)). @param fd of it, listening */
export async function serveInherited(listener: RequestListener, fd: number): Promise<{ close: () => Promise<void> }> {
  const server = createServer(limits, listener);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ fd }, resolve);
  });
  return { close: () => closed(server) };
}

const limits = { requestTimeout: 30_000, headersTimeout: 10_000 } as const;

/** Answers what is under way, for a moment. */
async function closed(server: Server): Promise<void> {
  const ended = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const late = setTimeout(() => server.closeAllConnections(), 2_000);
  await ended;
  clearTimeout(late);
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
