/** An operation that cannot be done, and what a person can do about it. */
export class ControlPlaneError extends Error {
  /** Stable identifier for programs. */
  readonly code: string;
  /** What to do next. */
  readonly hint: string | undefined;

  constructor(code: string, message: string, hint?: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ControlPlaneError';
    this.code = code;
    this.hint = hint;
  }
}
