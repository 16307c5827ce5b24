import { ApiError, BadReplyError, NoAgentError, NoPermissionError, TimeoutError } from '../api/client.ts';

/** Exit codes of every command but `sandbox exec`, which passes its command's own. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, unreachable: 3, timedOut: 4 } as const;

/** A failure that the command line itself found. */
export class Failure extends Error {
  override readonly name = 'Failure';
  constructor(
    readonly exitCode: number,
    /** Stable identifier for programs. */
    readonly code: string,
    message: string,
    /** What to do next. */
    readonly hint?: string,
  ) {
    super(message);
  }
}

/** The words on the command line are not ones we understand. */
export function usage(message: string, hint?: string): Failure {
  return new Failure(exitCodes.usage, 'usage', message, hint);
}

/** What is told about a failure, to people and programs alike. */
export interface Report {
  readonly exitCode: number;
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
}

/** Exit code and words for anything that was thrown. */
export function reportOf(error: unknown): Report {
  if (error instanceof Failure) return withHint(error.exitCode, error.code, error.message, error.hint);
  if (error instanceof ApiError) return withHint(exitCodes.failed, error.code, error.message, error.hint);
  if (error instanceof NoAgentError || error instanceof NoPermissionError) {
    return withHint(exitCodes.unreachable, error.code, error.message);
  }
  if (error instanceof TimeoutError) {
    return withHint(exitCodes.timedOut, error.code, error.message, 'It may still finish: look with `weft status`.');
  }
  if (error instanceof BadReplyError) {
    const hint = 'Look at the agent: `systemctl status weft`, `journalctl -u weft`.';
    return withHint(exitCodes.failed, error.code, error.message, hint);
  }
  const message = error instanceof Error ? error.message : String(error);
  return withHint(exitCodes.failed, 'internal', `internal error: ${message}`);
}

/** True when asking the same agent again is pointless. */
export function isFinal(error: unknown): boolean {
  return reportOf(error).exitCode >= exitCodes.unreachable;
}

function withHint(exitCode: number, code: string, message: string, hint?: string): Report {
  return hint === undefined ? { exitCode, code, message } : { exitCode, code, message, hint };
}
