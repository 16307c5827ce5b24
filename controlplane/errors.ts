/** An operation that cannot be done, and what a person can do about it. */
export class ControlPlaneError extends Error {
  /** Stable identifier for programs. */
  readonly code: string;
  /** What to do next. */
  readonly hint: string;

  constructor(code: string, message: string, hint: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'ControlPlaneError';
    this.code = code;
    this.hint = hint;
  }
}

/** What only managers do. */
export const notManager = (message: string): ControlPlaneError =>
  new ControlPlaneError('not_manager', message, 'run the command on a manager: `weft node ls` shows which nodes are');

/** Somebody has removed the network meanwhile. */
export const networkGone = (name: string): ControlPlaneError =>
  new ControlPlaneError('network_not_found', `network ${name} is gone`, '`weft network ls` shows those that there are');

/** A row of the state that cannot be read: nothing is guessed in its place. */
export const damagedState = (row: string, cause?: unknown): ControlPlaneError =>
  new ControlPlaneError(
    'damaged_state',
    `the state on disk is damaged: ${row} cannot be read`,
    'restore the state directory from a copy, or move it away, start the agent and `weft join` again',
    cause,
  );

/** The tables were written by a version whose records this one does not read. */
export const earlierState = (): ControlPlaneError =>
  new ControlPlaneError(
    'state_format',
    'the tables on disk were written by an earlier version of Weft, which this one does not read',
    'run that version to go on, or move the state directory away, start the agent and `weft init` or `weft join` again',
  );
