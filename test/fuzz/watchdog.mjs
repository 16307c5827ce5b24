// Looks on from another thread: a decoder that never returns is named, and the process ends.
import { workerData } from 'node:worker_threads';

const { shared, hangMs, seed, names } = workerData;
let [last, sinceMs] = ['', performance.now()];
setInterval(() => {
  const now = `${names[shared[0]]} ${shared[1]}`;
  if (now !== last) [last, sinceMs] = [now, performance.now()];
  else if (performance.now() - sinceMs > hangMs) {
    process.stderr.write(`fuzz: hangs: seed ${seed}, input ${now}\n`);
    process.kill(process.pid, 'SIGKILL');
  }
}, 500);
