#!/usr/bin/env node
import { run } from './run.ts';

// A CNI plugin (https://www.cni.dev/docs/spec/): one call of a container runtime, handed to the agent of this host.

const { stdout, exitCode } = await run({
  env: process.env,
  stdin: process.stdin,
  socketPath: '/run/weft/weft.sock',
});
process.exitCode = exitCode;
process.stdout.write(stdout);
