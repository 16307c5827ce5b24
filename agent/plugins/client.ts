import { type IncomingMessage, request } from 'node:http';
import type { z } from 'zod';
import { readBody } from '../http-body.ts';
import type { PluginAddress } from './discover.ts';

/** Docker's own media type of the protocol (moby, pkg/plugins/transport). */
const mediaType = 'application/vnd.docker.plugins.v1.2+json';
// A plugin may make devices, or ask a daemon of its own; one that hangs must not hang what waits for it.
const callTimeoutMs = 15_000;
// Of the answers that there are the longest is a list of routes.
const replyMaxBytes = 256 * 1024;

/** A plugin that refused, failed, hung or said something that is no answer. */
export class PluginError extends Error {
  override readonly name = 'PluginError';
  /** HTTP status; 0 when there was none. */
  readonly status: number;
  /** Nobody listens at its address. */
  readonly absent: boolean;

  constructor(message: string, status: number, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
    const { code } = (options?.cause ?? {}) as { code?: string };
    this.absent = code === 'ENOENT' || code === 'ECONNREFUSED';
  }
}

/**
 * One call of a plugin: POST of JSON, as Docker does it. `Err` in the answer is a refusal, whatever the status.
 * @throws PluginError
 */
export async function callPlugin<S extends z.ZodType>(
  address: PluginAddress,
  method: string,
  body: object,
  shape: S,
  timeoutMs = callTimeoutMs,
): Promise<z.output<S>> {
  const limit = AbortSignal.timeout(timeoutMs);
  let answer: { status: number; text: string };
  try {
    answer = await post(address, method, JSON.stringify(body), limit);
  } catch (cause) {
    if (cause instanceof PluginError) throw cause;
    const why = limit.aborted ? `no answer within ${timeoutMs / 1000} s` : (cause as Error).message;
    throw new PluginError(`${method}: ${why}`, 0, { cause });
  }
  return readAnswer(method, answer, shape);
}

/** @throws PluginError for a refusal, or what is no answer */
export function readAnswer<S extends z.ZodType>(
  method: string,
  { status, text }: { readonly status: number; readonly text: string },
  shape: S,
): z.output<S> {
  let json: unknown;
  try {
    json = text.trim() === '' ? {} : JSON.parse(text);
  } catch {
    json = null;
  }
  const said = typeof json === 'object' && json !== null && 'Err' in json ? json.Err : '';
  if (typeof said === 'string' && said !== '') throw new PluginError(`${method}: ${said.slice(0, 1024)}`, status);
  if (status !== 200) {
    const words = text.trim().slice(0, 256);
    throw new PluginError(`${method}: HTTP ${status}${words === '' ? '' : `: ${words}`}`, status);
  }
  const parsed = shape.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new PluginError(
    `${method}: the answer is none: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}`,
    status,
  );
}

async function post(
  address: PluginAddress,
  method: string,
  body: string,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  const to = address.kind === 'unix' ? { socketPath: address.path } : { host: address.host, port: address.port };
  const headers = {
    Host: 'plugin',
    Accept: mediaType,
    'Content-Type': mediaType,
    'Content-Length': Buffer.byteLength(body),
  };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    // No connection is kept: a plugin may have been started anew since.
    const outgoing = request({ ...to, agent: false, method: 'POST', path: `/${method}`, headers, signal }, resolve);
    outgoing.on('error', reject);
    outgoing.end(body);
  });
  return { status: response.statusCode ?? 0, text: await readBody(response, replyMaxBytes) };
}
