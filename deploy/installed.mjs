// Exit code 0 when node_modules holds exactly what package-lock.json asks for. Compares with the lock that npm itself
// keeps there, so that an install by hand counts too, and one that was broken off does not.
import { readFileSync } from 'node:fs';

function packages(path) {
  return JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')).packages;
}

try {
  const wanted = packages('../package-lock.json');
  const there = packages('../node_modules/.package-lock.json');
  const lacking = Object.entries(wanted).filter(([path, want]) => {
    if (path === '') return false;
    const have = there[path];
    // Optional packages are there for one platform only.
    return have === undefined ? !want.optional : have.version !== want.version || have.integrity !== want.integrity;
  });
  process.exitCode = lacking.length === 0 ? 0 : 1;
} catch {
  process.exitCode = 1;
}
