import type { StoredSandbox } from '../../sandbox-state.ts';
import { invalid, notFound } from '../api-error.ts';

/** @param ref name, id or start of an id @throws RequestError */
export function findSandbox(all: readonly StoredSandbox[], ref: string): StoredSandbox {
  const named = all.find(({ id, name }) => id === ref || name === ref);
  if (named !== undefined) return named;
  const matches = all.filter(({ id }) => id.startsWith(ref));
  if (matches.length > 1) throw invalid(`sandbox id ${ref} is ambiguous: ${matches.length} begin with it`);
  if (matches[0] === undefined) throw notFound('sandbox', ref);
  return matches[0];
}
