import type { ZodError } from 'zod';
import { ControlPlaneError } from '../../controlplane/errors.ts';

/** An answer to a client that is not the one it hoped for. */
export class RequestError extends Error {
  override readonly name = 'RequestError';
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;

  constructor(status: number, code: string, message: string, hint?: string) {
    super(message);
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}

export const notFound = (kind: string, ref: string): RequestError =>
  new RequestError(404, `${kind}_not_found`, `${kind} ${ref} not found`, `\`weft ${kind} ls\` lists what there is`);

export const conflict = (code: string, message: string, hint?: string): RequestError =>
  new RequestError(409, code, message, hint);

export const invalid = (message: string, hint?: string): RequestError =>
  new RequestError(400, 'invalid', message, hint);

// Everything else that the control plane refuses is a conflict with the state it is in.
const statuses: { readonly [code: string]: number } = {
  invalid_subnet: 400,
  invalid_gateway: 400,
  invalid_pool: 400,
  too_large: 400,
  join_token_malformed: 400,
  invalid_port: 400,
  network_not_found: 404,
  service_not_found: 404,
  label_not_found: 404,
  nothing_published: 400,
  port_not_published: 404,
  not_manager: 403,
  join_token_invalid: 403,
  join_token_rotated: 403,
  join_token_expired: 403,
  join_token_used_up: 403,
  join_token_revoked: 403,
  join_unreachable: 502,
  join_wrong_ca: 502,
  join_bad_answer: 502,
  join_no_mesh: 502,
  no_manager_reachable: 503,
  no_owner_reachable: 503,
  exhausted: 507,
};

/** What is wrong with a request, and where in it, in a few words. */
export function issueText({ issues: [issue] }: ZodError): string {
  const where = issue?.path.length ? `${issue.path.join('.')}: ` : '';
  return `${where}${issue?.message ?? 'not valid'}`;
}

/** Any error as the client is to see it; `expected` is false for those that are our own fault. */
export function toReply(error: unknown): {
  expected: boolean;
  status: number;
  body: { message: string; code: string; hint?: string };
} {
  if (error instanceof RequestError || error instanceof ControlPlaneError) {
    const status = error instanceof RequestError ? error.status : (statuses[error.code] ?? 409);
    const { message, code, hint } = error;
    return { expected: true, status, body: { message, code, ...(hint === undefined ? {} : { hint }) } };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { expected: false, status: 500, body: { message, code: 'internal', hint: 'the log of the agent has more' } };
}
