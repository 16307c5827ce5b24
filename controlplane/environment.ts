/**
 * Everything the control plane takes from outside besides the mesh and the store, so that the same code runs under a
 * virtual clock.
 */
export interface Environment {
  /** Wall clock, milliseconds since the epoch. */
  now(): number;
  /** Milliseconds on a clock that is never set and never jumps: for how long something takes. */
  monotonicMs(): number;
  /** Runs `task` once after `delayMs`; the result cancels it. */
  timer(delayMs: number, task: () => void): () => void;
  /** Uniform in [0, 1). */
  random(): number;
}

/** pino's shape, narrowed to what is used. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

export const systemEnvironment: Environment = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  timer: (delayMs, task) => {
    const handle = setTimeout(task, delayMs);
    return () => clearTimeout(handle);
  },
  random: () => Math.random(),
};

/** What a moment of the clock that does not jump is called by the wall clock as it is set now: to be shown. */
export function wallMs(environment: Environment, monotonicMs: number): number {
  return environment.now() - (environment.monotonicMs() - monotonicMs);
}

/** `baseMs` spread by ±25 %, so that nodes started together do not act together. */
export function jittered(environment: Environment, baseMs: number): number {
  return baseMs * (0.75 + environment.random() * 0.5);
}
