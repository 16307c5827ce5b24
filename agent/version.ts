import { readFileSync } from 'node:fs';

// Set by the bundler; absent when the sources run as they are.
declare const WEFT_VERSION: string | undefined;

function fromPackage(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const { version } = JSON.parse(text) as { version: string };
  return version;
}

/** Version of this program, as in package.json. */
export const version: string = typeof WEFT_VERSION === 'string' ? WEFT_VERSION : fromPackage();
