import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { z } from 'zod';
import { toReply } from '../daemon/api-error.ts';
import type { Logger } from '../daemon/log.ts';

const maxBodyBytes = 262_144;
/** Docker gives up after 30 s (moby, pkg/plugins/client.go), and asks again from the start. */
const answerTimeoutMs = 25_000;
/** moby, pkg/plugins/transport. */
const contentType = 'application/vnd.docker.plugins.v1.1+json';

export type Answer = (body: unknown) => object | Promise<object>;

/**
 * A legacy plugin of Docker as a web application: each call is a POST of JSON to its name. What goes wrong is said as
 * `{"Err": "…"}`, which Docker shows to its user as it is.
 */
export function pluginApp(calls: ReadonlyMap<string, Answer>, log: Logger): Hono {
  const app = new Hono();
  const refusal = (text: string): Response => reply({ Err: text });
  app.use(bodyLimit({ maxSize: maxBodyBytes, onError: () => refusal('weft: the request is too large') }));
  app.post('/:call', async (c) => {
    const name = c.req.param('call');
    const answer = calls.get(name);
    if (answer === undefined) return refusal(`weft: ${name.slice(0, 64)} is no call of a network or IPAM driver`);
    const text = await c.req.text();
    let body: unknown;
    try {
      body = text === '' ? {} : JSON.parse(text);
    } catch {
      return refusal('weft: the request is not JSON');
    }
    try {
      return reply(await inTime(Promise.resolve(body ?? {}).then(answer)));
    } catch (error) {
      if (error instanceof z.ZodError) return refusal(`weft: ${name}: ${whereOf(error)}`);
      const { expected, body: why } = toReply(error);
      log[expected ? 'warn' : 'error']({ err: error, call: name }, 'Docker was refused what it asked');
      return refusal(`weft: ${why.message}${why.hint === undefined ? '' : `: ${why.hint}`}`);
    }
  });
  app.notFound(() => refusal('weft: no such call'));
  return app;
}

const reply = (body: object): Response =>
  new Response(JSON.stringify(body), { headers: { 'content-type': contentType } });

async function inTime<T>(work: Promise<T>): Promise<T> {
  const limit = AbortSignal.timeout(answerTimeoutMs);
  return Promise.race([
    work,
    new Promise<never>((_, reject) => {
      limit.addEventListener('abort', () => reject(new Error(`no answer within ${answerTimeoutMs / 1000} s`)));
    }),
  ]);
}

function whereOf({ issues: [issue] }: z.ZodError): string {
  const where = issue?.path.length ? `${issue.path.join('.')}: ` : '';
  return `${where}${issue?.message ?? 'not valid'}`;
}
