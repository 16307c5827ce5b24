// A bulk transfer that is checked at both ends, to be run inside sandboxes.
//   tcp.mjs serve PORT [IP]    answers each connection with the number of bytes it sent and their SHA-256
//   tcp.mjs send HOST PORT N   sends N bytes, prints {"sent","received","ok","ms"}; exit code 1 unless ok
//   tcp.mjs flow HOST PORT     sends until SIGTERM, says how many bytes went out so far, then prints the same as send
//   tcp.mjs read HOST PORT     prints what the other side says
import { createHash, randomFillSync } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

const [verb, ...args] = process.argv.slice(2);

function serve(port, host = '0.0.0.0') {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash('sha256');
    let bytes = 0;
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      hash.update(chunk);
      bytes += chunk.length;
    });
    socket.on('end', () => socket.end(`${bytes} ${hash.digest('hex')}\n`));
  });
  server.listen(port, host, () => process.stdout.write('listening\n'));
}

function dial(host, port, onReady, silenceMs = 5000) {
  const socket = connect({ host, port, allowHalfOpen: true }, () => onReady(socket));
  socket.setTimeout(silenceMs, () => socket.destroy(new Error(`nothing heard for ${silenceMs / 1000} s`)));
  socket.on('error', (error) => {
    process.stderr.write(`${host}:${port}: ${error.message}\n`);
    process.exitCode = 1;
  });
  // Half-open on purpose, so that an early end of ours does not cut off the answer; then it is for us to end.
  socket.on('end', () => socket.end());
  let said = '';
  socket.setEncoding('utf8').on('data', (text) => {
    said += text;
  });
  return new Promise((resolve) => socket.on('close', () => resolve(said.trim())));
}

async function send(host, port, total) {
  const data = Buffer.alloc(total);
  randomFillSync(data);
  const started = performance.now();
  const said = await dial(host, port, (socket) => socket.end(data));
  const ok = said === `${total} ${createHash('sha256').update(data).digest('hex')}`;
  const ms = Math.round(performance.now() - started);
  process.stdout.write(`${JSON.stringify({ sent: total, received: Number(said.split(' ')[0]) || 0, ok, ms })}\n`);
  if (!ok) process.exitCode = 1;
}

/** On and on: what goes on under it may take its time, but must not end it. */
async function flow(host, port) {
  const chunk = Buffer.alloc(65_536);
  const hash = createHash('sha256');
  let total = 0;
  let over = false;
  process.once('SIGTERM', () => {
    over = true;
  });
  const said = await dial(
    host,
    port,
    async (socket) => {
      const tick = setInterval(() => process.stdout.write(`${total}\n`), 100);
      while (!over && !socket.destroyed) {
        randomFillSync(chunk);
        hash.update(chunk);
        total += chunk.length;
        // Copied: the socket keeps it until it has gone out. Not as fast as it goes: the test has two processors.
        const full = !socket.write(Buffer.from(chunk));
        if (full) await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      clearInterval(tick);
      socket.end();
    },
    60_000,
  );
  const ok = said === `${total} ${hash.digest('hex')}`;
  process.stdout.write(`${JSON.stringify({ sent: total, received: Number(said.split(' ')[0]) || 0, ok })}\n`);
}

if (verb === 'serve') serve(Number(args[0]), args[1]);
else if (verb === 'send') await send(args[0], Number(args[1]), Number(args[2]));
else if (verb === 'flow') await flow(args[0], Number(args[1]));
else if (verb === 'read') process.stdout.write(`${await dial(args[0], Number(args[1]), () => {})}\n`);
else {
  process.stderr.write('usage: tcp.mjs serve PORT [IP] | send HOST PORT BYTES | flow HOST PORT | read HOST PORT\n');
  process.exitCode = 2;
}
