import { openStore } from '../../../controlplane/store.ts';

// Commits until it is killed, and says each number once it is acknowledged. The pair has to agree.
const store = openStore(process.argv[2] ?? '');
for (let n = Number(store.get(['left']) ?? -1) + 1; ; n += 1) {
  await store.commit([
    { key: ['left'], value: n },
    { key: ['n', n], value: Buffer.alloc(500) },
    { key: ['right'], value: n },
  ]);
  process.stdout.write(`${n}\n`);
}
