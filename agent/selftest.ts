import type { Fault } from '../dataplane/selftest/selftest.ts';

/** The node at the other end, and what was tried. */
export interface TestedPath {
  readonly hostname: string;
  readonly vtep: string;
  /** UDP port of VXLAN. */
  readonly port: number;
  /** Bytes of the largest packet. */
  readonly mtu: number;
}

/** What a fault means and what there is to do about it, in one line. */
export function faultMessage(fault: Fault, { hostname, vtep, port, mtu }: TestedPath): string {
  const path = `data path to ${hostname} (${vtep})`;
  switch (fault) {
    case 'vxlan':
      return (
        `${path}: nothing comes back through VXLAN: UDP port ${port} is filtered on the way or on one of the two hosts, or` +
        ' taken by what lies under them (VMware NSX takes 4789); open it both ways, or make the cluster with another one:' +
        ' `weft init --data-path-port`'
      );
    case 'offload':
      return (
        `${path}: TCP leaves this host with wrong checksums: its network card, or the one that its hypervisor shows it, spoils` +
        ' those inside VXLAN; they are made in software now, which costs throughput'
      );
    case 'tcp':
      return `${path}: ICMP comes back through VXLAN, TCP does not; a firewall between the hosts may look into VXLAN`;
    case 'size':
      return (
        `${path}: packets of ${mtu} bytes do not come through, smaller ones do; if that stays, set the MTU:` +
        ' `weft network create --opt mtu=BYTES`'
      );
  }
}
