/** One thing that was looked at. */
export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly value: number;
  readonly unit: string;
  readonly detail: string;
}

/** Collects checks and tells about each as it comes. */
export class Report {
  readonly checks: Check[] = [];
  readonly #startedMs: number;

  constructor(startedMs: number) {
    this.#startedMs = startedMs;
  }

  get ok(): boolean {
    return this.checks.length > 0 && this.checks.every((check) => check.ok);
  }

  get seconds(): number {
    return Math.round(Date.now() - this.#startedMs) / 1000;
  }

  /** A heading for what comes next. */
  step(text: string): void {
    process.stderr.write(`\n${text}\n`);
  }

  add(name: string, ok: boolean, value: number, unit: string, detail = ''): void {
    const rounded = Math.round(value * 1000) / 1000;
    this.checks.push({ name, ok, value: rounded, unit, detail });
    const figure = `${rounded} ${unit}`.padEnd(14);
    process.stderr.write(`  ${ok ? 'ok  ' : 'FAIL'} ${figure} ${name}${detail === '' ? '' : ` (${detail})`}\n`);
  }
}
