/** A command as a person can paste it into bash(1): each word reaches the program as it is. */
export const commandLine = (words: readonly string[]): string => words.map(quoted).join(' ');

function quoted(word: string): string {
  if (/^[A-Za-z0-9_.,:/=@%+-]+$/.test(word)) return word;
  if (!/\p{Cc}/u.test(word)) return `'${word.replaceAll("'", "'\\''")}'`;
  // In bytes, so that what could move a cursor is not written, and whatever the locale.
  const escaped = word.replace(/[\\']|\p{Cc}/gu, (character) => [...Buffer.from(character)].map(octal).join(''));
  return `$'${escaped}'`;
}

const octal = (byte: number): string => `\\${byte.toString(8).padStart(3, '0')}`;
