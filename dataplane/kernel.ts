import { apply, type DeviceIndexes, type Outcome } from './apply/apply.ts';
import type { Desired } from './desired.ts';
import { Listener, type ListenerInit } from './drift/listener.ts';
import type { Log } from './log.ts';
import { Hold } from './nft/hold.ts';
import { observe, observeNewSandboxes } from './observe/observe.ts';
import type { Observed } from './observe/observed.ts';
import type { Step } from './steps.ts';

/** All that the loop asks of the kernel and does to it. Documented where it is done: observe.ts, apply.ts, listener.ts. */
export interface Kernel {
  observe(desired: Desired, before?: Observed | null): Promise<Observed>;
  observeNewSandboxes(observed: Observed, desired: Desired): Promise<boolean>;
  apply(steps: readonly Step[], indexes: DeviceIndexes): Promise<Outcome>;
  listen(init: ListenerInit): Ear;
  hold(log: Log): Grip;
}

/** Keeps what is translated translated while tables are gone. */
export type Grip = Pick<Hold, 'set'> & AsyncDisposable;

/** Hears what changes. */
export type Ear = Pick<Listener, 'follow' | 'dropReplaced' | 'pause' | 'clear' | 'resume'> & Disposable;

/** The kernel of this host. @param runDir as in DataPlaneOptions */
export const hostKernel = (runDir: string): Kernel => ({
  observe: (desired, before) => observe(desired, runDir, before),
  observeNewSandboxes,
  apply: (steps, indexes) => apply(steps, runDir, indexes),
  listen: (init) => new Listener(init),
  hold: (log) => new Hold(log),
});
