// Stands in for the agent where the lab itself is tested: opens the socket, answers everything with {}.
//   standin.mjs agent [--crash]    the "agent"; with --crash it ends at once with a message
//   standin.mjs anything else      the "CLI": prints its arguments and host name as JSON
import { rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { hostname } from 'node:os';

const [verb, ...args] = process.argv.slice(2);
if (verb !== 'agent') {
  process.stdout.write(`${JSON.stringify({ verb, args, hostname: hostname() })}\n`);
} else if (args.includes('--crash')) {
  process.stderr.write('standin: told to crash\n');
  process.exitCode = 3;
} else {
  const path = '/run/weft/weft.sock';
  rmSync(path, { force: true });
  const server = createServer((_, response) => response.end('{}'));
  server.listen(path, () => process.stderr.write('standin: ready\n'));
  process.once('SIGTERM', () => {
    process.stderr.write('standin: stopping\n');
    server.close();
    server.closeAllConnections();
  });
}
