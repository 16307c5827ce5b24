import type { Target } from './engine.ts';
import { apiTargets } from './targets/api.ts';
import { cniTargets } from './targets/cni.ts';
import { dnsTargets } from './targets/dns.ts';
import { dockerTargets } from './targets/docker.ts';
import { fileTargets } from './targets/files.ts';
import { gossipTargets } from './targets/gossip.ts';
import { handshakeTargets } from './targets/handshake.ts';
import { joinTargets } from './targets/join.ts';
import { kernelTargets } from './targets/kernel.ts';
import { pluginTargets } from './targets/plugins.ts';
import { portTargets } from './targets/ports.ts';
import { recordTargets } from './targets/records.ts';
import { replyTargets } from './targets/replies.ts';
import { requestTargets } from './targets/requests.ts';
import { stateTargets } from './targets/state.ts';

const subjects: readonly (() => Target[] | Promise<Target[]>)[] = [
  gossipTargets,
  recordTargets,
  requestTargets,
  replyTargets,
  handshakeTargets,
  joinTargets,
  stateTargets,
  apiTargets,
  cniTargets,
  kernelTargets,
  fileTargets,
  dnsTargets,
  portTargets,
  pluginTargets,
  dockerTargets,
];

/** All decoders of bytes that others wrote: members, strangers, the disk, local users, the kernel, container runtimes, the host's own files. */
export async function makeTargets(): Promise<Target[]> {
  const targets: Target[] = [];
  // In turn: while an identity of the simulation is made, signatures are those of the simulation.
  for (const make of subjects) targets.push(...(await make()));
  return targets;
}
