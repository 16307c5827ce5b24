type Write = (fields: Readonly<Record<string, unknown>>, message: string) => void;

/** What the data plane needs of a logger; pino's fits. */
export interface Log {
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
}
