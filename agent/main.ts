#!/usr/bin/env node
import { run } from './cli/run.ts';

// A reader that has seen enough (`weft network ls | head -1`) is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  process.exit(error.code === 'EPIPE' ? 0 : 1);
});

process.exitCode = await run(process.argv.slice(2), {
  env: process.env,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  now: Date.now,
  runAgent: async (flags) => {
    const { runAgent } = await import('./daemon/main.ts');
    const code = await runAgent(flags);
    // Whatever may still hold the process: the agent has said goodbye.
    setTimeout(() => process.exit(code), 3_000).unref();
    return code;
  },
});
