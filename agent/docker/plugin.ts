import type { RequestListener } from 'node:http';
import { z } from 'zod';
import { issueText, toReply } from '../daemon/api-error.ts';
import type { Logger } from '../daemon/log.ts';
import { BodyTooLargeError, readBody } from '../http-body.ts';

const maxBodyBytes = 262_144;
/** Docker gives up after 30 s (moby, pkg/plugins/client.go), and asks again from the start. */
const answerTimeoutMs = 25_000;
/** moby, pkg/plugins/transport. */
const contentType = 'application/vnd.docker.plugins.v1.1+json';

export type Answer = (body: unknown) => object | Promise<object>;
export type Calls = ReadonlyMap<string, Answer>;

/**
 * A legacy plugin of Docker: each call is a POST of JSON to its name, from a client whose Host header is the path of the
 * socket. What goes wrong is said in words, which Docker shows to its user as they are.
 */
export function pluginListener(calls: Calls, log: Logger): RequestListener {
  return (request, response) => {
    const call = (request.url ?? '').replace(/^\//, '');
    const answered = readBody(request, maxBodyBytes).then(
      (text) => answerTo(calls, call, text, log),
      (error: unknown) => refusal(error instanceof BodyTooLargeError ? 'the request is too large' : 'no whole request'),
    );
    answered.then((body) => {
      response.writeHead(200, { 'content-type': contentType });
      response.end(JSON.stringify(body));
    });
  };
}

/** Network drivers say `Err`, IPAM drivers `Error` (moby, libnetwork/drivers/remote/api and ipams/remote/api). */
const refusal = (text: string): object => ({ Err: `weft: ${text}`, Error: `weft: ${text}` });

/** The answer to one call; never rejects. */
export async function answerTo(calls: Calls, call: string, text: string, log: Logger): Promise<object> {
  const answer = calls.get(call);
  if (answer === undefined) return refusal(`${call.slice(0, 64)} is no call of a network or IPAM driver`);
  let body: unknown;
  try {
    body = text === '' ? {} : JSON.parse(text);
  } catch {
    return refusal('the request is not JSON');
  }
  try {
    return await inTime(Promise.resolve(body ?? {}).then(answer));
  } catch (error) {
    if (error instanceof z.ZodError) return refusal(`${call}: ${issueText(error)}`);
    const { expected, body: why } = toReply(error);
    log[expected ? 'warn' : 'error']({ err: error, call }, 'Docker was refused what it asked');
    return refusal(`${why.message}${why.hint === undefined ? '' : `: ${why.hint}`}`);
  }
}

async function inTime<T>(work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new Error(`no answer within ${answerTimeoutMs / 1000} s`);
    timer = setTimeout(() => reject(error), answerTimeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
