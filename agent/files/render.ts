import { basename, join } from 'node:path';
import { addressesOf } from '../../controlplane/tables/kinds.ts';
import type { StoredSandbox } from '../sandbox-state.ts';
import { type Resolver, renderResolvConf } from './resolv-conf.ts';

/**
 * Names of a sandbox's files, in their directory and in /etc. `hosts` is the first to be written and the last to be
 * removed, since its mark says whose the others are.
 */
export const fileNames = ['hosts', 'hostname', 'resolv.conf'] as const;
export type FileName = (typeof fileNames)[number];

/** First line of each `hosts` that we wrote: a directory that has one without it is somebody else's. */
export const mark = '# Written by Weft. Changes are overwritten.';

/** Directories that hold a directory for each sandbox. */
export interface FileRoots {
  /** Of namespaces that we made: /etc/netns, where `ip netns exec` looks (ip-netns(8)). */
  readonly owned: string;
  /** Of adopted ones, which may have a name, and files of their owner's, in /etc/netns. */
  readonly adopted: string;
}

/** Where a sandbox's files are. */
export function directoryOf(sandbox: Pick<StoredSandbox, 'id' | 'netns' | 'adopted'>, roots: FileRoots): string {
  return sandbox.adopted ? join(roots.adopted, sandbox.id.slice(0, 12)) : join(roots.owned, basename(sandbox.netns));
}

/** The name that a sandbox has for itself. */
export const hostnameFor = ({ hostname, name }: Pick<StoredSandbox, 'hostname' | 'name'>): string => hostname ?? name;

/** The whole text of each file of a sandbox. Pure. */
export function render(sandbox: StoredSandbox, resolver: Resolver): Record<FileName, string> {
  return {
    hostname: `${hostnameFor(sandbox)}\n`,
    hosts: renderHosts(sandbox),
    'resolv.conf': `${mark}\n${renderResolvConf(resolver)}`,
  };
}

/** Docker's lines, then one for each address that others know the sandbox by (hosts(5)); not that of docker_gwbridge. */
function renderHosts(sandbox: StoredSandbox): string {
  const hostname = hostnameFor(sandbox);
  const [short = hostname] = hostname.split('.');
  const names = [...new Set([hostname, short, sandbox.name])].join(' ');
  const lines = [
    mark,
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff00::\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...sandbox.legs.flatMap((leg) => addressesOf(leg).map((ip) => `${ip}\t${names}`)),
  ];
  return lines.map((line) => `${line}\n`).join('');
}
