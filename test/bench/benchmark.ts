import type { Figure } from './report.ts';

/** What a benchmark is given. */
export interface BenchContext {
  /** Hands in a figure; it is printed at once. */
  readonly report: (figure: Figure) => void;
  /** Tells a person what goes on, on stderr. */
  readonly say: (text: string) => void;
  /** A whole number from the command line (`--hosts 3,10`, `--samples 50`), or the given default. */
  readonly numbers: (name: string, fallback: readonly number[]) => readonly number[];
}

/** One file in `cases/` exports one of these as `benchmark`; that is all it takes to be listed and run. */
export interface Benchmark {
  readonly name: string;
  /** One line: what is measured, from where to where. */
  readonly summary: string;
  /** Options that it reads with `numbers`, each with what it means. */
  readonly options?: Readonly<Record<string, string>>;
  readonly run: (context: BenchContext) => Promise<void>;
}
