/** A deliberate fault, put into a copy of the production code: a simulation worth its name finds it. */
export interface Mutant {
  readonly name: string;
  /** Source file, from the root of the repository. */
  readonly file: string;
  /** Text that stands there exactly once, and what takes its place. */
  readonly replace: string;
  readonly by: string;
}
