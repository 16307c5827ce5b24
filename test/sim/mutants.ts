import { nodesMutants } from './mutants/nodes.ts';
import { ringMutants } from './mutants/ring.ts';
import { tablesMutants } from './mutants/tables.ts';

/** A deliberate fault, put into a copy of the production code: a simulation worth its name finds it. */
export interface Mutant {
  readonly name: string;
  readonly edits: readonly Edit[];
  /** One that shows within few seeds: part of the short check. */
  readonly quick?: true;
}

export interface Edit {
  /** Source file, from `controlplane/`. */
  readonly file: string;
  /** Text that stands there exactly once, and what takes its place. */
  readonly replace: string;
  readonly by: string;
}

/** A file of `mutants/` a subject. */
export const mutants: readonly Mutant[] = [...tablesMutants, ...ringMutants, ...nodesMutants];
