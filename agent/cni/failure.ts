import { ApiError, BadReplyError, NoAgentError, NoPermissionError, TimeoutError } from '../api/client.ts';

/** Codes of the CNI specification (SPEC.md, section "Error"; from 100 on they are a plugin's own). */
export const codes = {
  incompatibleVersion: 1,
  invalidEnvironment: 4,
  io: 5,
  notDecoded: 6,
  invalidConfig: 7,
  tryAgain: 11,
  notAvailable: 50,
  /** The agent understood, and refused or failed. */
  refused: 100,
  /** CHECK: the attachment is not what it was. */
  differs: 101,
  internal: 199,
} as const;

/** What the runtime is told on stdout. */
export interface Failure {
  readonly code: number;
  readonly msg: string;
  /** What to do next. */
  readonly details: string;
}

/** A failure on its way out. */
export class CniError extends Error {
  override readonly name = 'CniError';
  readonly failure: Failure;
  constructor(code: number, msg: string, details = '') {
    super(msg);
    this.failure = { code, msg, details };
  }
}

// By the agent's code of a refusal. Those to try again pass by themselves, or with what the message asks for.
const ofAgent: { readonly [code: string]: number } = {
  sandbox_busy: codes.tryAgain,
  sandbox_exists: codes.tryAgain,
  kernel_timeout: codes.tryAgain,
  not_active: codes.tryAgain,
  leaving: codes.tryAgain,
  no_manager_reachable: codes.tryAgain,
  no_owner_reachable: codes.tryAgain,
  address_resting: codes.tryAgain,
  netns_not_found: codes.invalidEnvironment,
  invalid: codes.invalidConfig,
  network_not_found: codes.invalidConfig,
  network_ambiguous: codes.invalidConfig,
};

/** Anything that was thrown, as the runtime is to see it. */
export function failureOf(error: unknown): Failure {
  if (error instanceof CniError) return error.failure;
  const msg = error instanceof Error ? error.message : String(error);
  if (error instanceof ApiError) return { code: ofAgent[error.code] ?? codes.refused, msg, details: error.hint ?? '' };
  if (error instanceof NoAgentError)
    return { code: codes.tryAgain, msg, details: 'it is needed for ADD, DEL and CHECK' };
  if (error instanceof NoPermissionError) return { code: codes.io, msg, details: 'container runtimes run it as root' };
  if (error instanceof TimeoutError || error instanceof BadReplyError) {
    return { code: codes.tryAgain, msg, details: 'look at the agent: `systemctl status weft`, `journalctl -u weft`' };
  }
  return { code: codes.internal, msg: `internal error: ${msg}`, details: 'please report it' };
}

/** True of a refusal with one of these codes of the agent. */
export const isRefusal = (error: unknown, ...of: readonly string[]): boolean =>
  error instanceof ApiError && of.includes(error.code);
