import type { Cluster } from '../../../controlplane/cluster.ts';
import { toPem } from '../../../controlplane/identity/certificates.ts';
import type { NodeId } from '../../../controlplane/ids.ts';
import { defaultCertExpiryMs } from '../../../controlplane/membership.ts';
import type { Ca, MeshKey, RotateCaRequest, RotateRequest } from '../../api/schema.ts';

// Roots and mesh keys for the local API: how they stand, and changing them.

export function caReply(cluster: Cluster): Ca {
  const { digest, certificate, notAfterMs, done, missing } = cluster.keys.roots.state;
  return {
    RootDigest: digest,
    RootCertificate: toPem(certificate),
    NotAfter: new Date(notAfterMs).toISOString(),
    NodeCertExpiryMs: cluster.view.cluster?.certExpiryMs ?? defaultCertExpiryMs,
    Rotating: !done,
    ...counted(cluster, missing),
  };
}

export function meshKeyReply(cluster: Cluster): MeshKey {
  const { digest, done, missing } = cluster.keys.meshKeys.state;
  return { Digest: digest, Rotating: !done, ...counted(cluster, missing) };
}

/** @throws ControlPlaneError `rotation_under_way`, `no_authority` */
export async function rotateCa(cluster: Cluster, request: RotateCaRequest): Promise<Ca> {
  const { roots } = cluster.keys;
  if (request.NodeCertExpiryMs !== undefined) await cluster.keys.setCertExpiry(request.NodeCertExpiryMs);
  if (request.Finish) await roots.finish();
  else await roots.rotate(request.Force);
  return caReply(cluster);
}

/** @throws ControlPlaneError `not_manager`, `rotation_under_way` */
export async function rotateMeshKey(cluster: Cluster, request: RotateRequest): Promise<MeshKey> {
  const { meshKeys } = cluster.keys;
  if (request.Finish) await meshKeys.finish();
  else await meshKeys.rotate(request.Force);
  return meshKeyReply(cluster);
}

function counted(cluster: Cluster, missing: readonly NodeId[]): Pick<Ca, 'Nodes' | 'Missing'> {
  const named = missing.map((id) => ({ ID: id, Hostname: cluster.view.nodes.get(id)?.hostname ?? '' }));
  return { Nodes: cluster.view.nodes.size, Missing: named };
}
