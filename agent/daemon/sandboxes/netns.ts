import { statSync } from 'node:fs';
import { interfacesIn } from '../../../dataplane/interfaces.ts';
import { parseNetnsPath } from '../../../dataplane/values.ts';
import type { SandboxCreateRequest } from '../../api/schema.ts';
import { containerLabel } from '../../cni/labels.ts';
import { hostNetns, type StoredSandbox } from '../../sandbox-state.ts';
import { conflict, invalid, RequestError } from '../api-error.ts';

/**
 * The namespace of a sandbox that is to be made: one of its own, or one that is there and is adopted.
 * @throws RequestError for one that is not there, is another sandbox's or the host's own
 */
export function namespaceFor(
  { NetnsPath, Pid }: SandboxCreateRequest,
  id: string,
  others: readonly StoredSandbox[],
): Pick<StoredSandbox, 'netns' | 'adopted' | 'inode'> {
  if (NetnsPath !== undefined && Pid !== undefined) throw invalid('give --netns or --pid, not both');
  const text = NetnsPath ?? (Pid === undefined ? `/run/netns/weft-${id.slice(0, 12)}` : `/proc/${Pid}/ns/net`);
  const netns = parseNetnsPath(text);
  if (!netns.ok) throw invalid(netns.reason);
  if (NetnsPath === undefined && Pid === undefined) {
    return { netns: netns.value, adopted: false, inode: null };
  }
  const inode = inodeOf(netns.value);
  if (inode === null) {
    throw new RequestError(
      404,
      'netns_not_found',
      `${text} is not there or cannot be opened`,
      Pid === undefined ? 'check the path' : `no process has pid ${Pid}`,
    );
  }
  const other = others.find((each) => (each.inode ?? inodeOf(each.netns)) === inode);
  if (other !== undefined) throw conflict('netns_adopted', `${text} is the namespace of sandbox ${other.name} already`);
  if (inode === inodeOf('/proc/self/ns/net')) throw invalid(`${text} is the host's own network namespace`);
  return { netns: netns.value, adopted: true, inode };
}

/** The namespace of a sandbox that shares the host's. @throws RequestError when the agent's own is another */
export function hostNamespace({
  NetnsPath,
  Pid,
}: SandboxCreateRequest): Pick<StoredSandbox, 'netns' | 'adopted' | 'inode'> {
  if (NetnsPath !== undefined || Pid !== undefined) throw invalid('on network host there is no namespace to adopt');
  const inode = inodeOf(hostNetns);
  if (inode === null || inode !== inodeOf('/proc/self/ns/net')) {
    throw invalid(`the agent is not in the host's network namespace (${hostNetns})`, 'run it there for network host');
  }
  return { netns: hostNetns, adopted: true, inode };
}

/** Names of the interfaces that an adopted namespace has already. */
export async function interfacesOf({ netns }: StoredSandbox): Promise<string[]> {
  const parsed = parseNetnsPath(netns);
  if (!parsed.ok) throw invalid(parsed.reason);
  try {
    return await interfacesIn(parsed.value);
  } catch (error) {
    throw invalid(`${netns} is not a network namespace: ${(error as Error).message}`);
  }
}

/** True of a container runtime's sandbox whose namespace is gone: after a crash or a reboot nobody else may remove it. */
export const isOver = ({ labels, netns, inode }: StoredSandbox): boolean =>
  labels[containerLabel] !== undefined && inode !== null && inodeOf(netns) !== inode;

/** Inode at that path; null when nothing is there, or nothing that may be looked at. */
export function inodeOf(path: string): number | null {
  try {
    return statSync(path).ino;
  } catch {
    return null;
  }
}
