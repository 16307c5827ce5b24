// One node's NetworkDB, by the diagnostic server of its dockerd (moby libnetwork/diagnostic). Joins a network of the
// database, then waits for entry after entry of it, and says of each when it was there. A signal (SIGUSR2) writes the next.
//   networkdb.mjs PORT NETWORK NODES
//     ready               all nodes are on the network
//     0 TIME              entry 0 was written here, or seen; wall clock, milliseconds
import { Agent, get } from 'node:http';

const [port, nid, nodes] = process.argv.slice(2);
const tname = 'bench_table';
// What Swarm's overlay driver writes of an endpoint is about as long.
const value = Buffer.from('10.0.0.5/24 02:42:0a:00:00:05 10.99.0.1').toString('base64');
// What all nodes ask for so often together takes some hundredths of a processor.
const everyMs = 20;
const agent = new Agent({ keepAlive: true });

const wallClockMs = () => performance.timeOrigin + performance.now();
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function ask(path, query) {
  const search = new URLSearchParams({ nid, ...query });
  return new Promise((resolve, reject) => {
    const request = get({ host: '127.0.0.1', port, agent, path: `/${path}?json&${search}` }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      response.on('end', () => resolve(JSON.parse(text)));
    });
    request.on('error', reject);
  });
}

async function must(path, query) {
  const reply = await ask(path, query);
  if (reply.message !== 'OK') throw new Error(`${path}: ${JSON.stringify(reply)}`);
  return reply;
}

let write = false;
process.on('SIGUSR2', () => {
  write = true;
});
await must('joinnetwork');
while ((await must('networkpeers')).details.size !== Number(nodes)) await pause(200);
process.stdout.write('ready\n');
for (let entry = 0, missedMs = null; ; ) {
  const key = `e${entry}`;
  // To its favour an entry counts as there from the last look that has not found it, and as written when that is done.
  const lookedMs = wallClockMs();
  if (write) {
    write = false;
    await must('createentry', { tname, key, value });
    process.stdout.write(`${entry++} ${wallClockMs()}\n`);
    missedMs = null;
  } else if ((await ask('getentry', { tname, key })).message === 'OK') {
    process.stdout.write(`${entry++} ${missedMs ?? lookedMs}\n`);
    missedMs = null;
  } else {
    missedMs = lookedMs;
    await pause(everyMs);
  }
}
