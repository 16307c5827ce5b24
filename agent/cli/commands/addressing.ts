import type { Command } from 'commander';
import { once } from '../parse.ts';

/** Flags that init and join share. */
export interface AddressFlags {
  readonly advertiseAddr?: string;
  readonly dataPathAddr?: string;
  readonly gwbridgeSubnet?: string;
}

/** Adds the flags that init and join share. */
export function addAddressing(command: Command): Command {
  return command
    .option('--advertise-addr <addr>', 'address that other nodes reach this one at, IP or IP:PORT', once)
    .option('--data-path-addr <ip>', 'address for VXLAN traffic (default: the advertise address)', once)
    .option(
      '--gwbridge-subnet <cidr>',
      'subnet of docker_gwbridge here (default: one that this host does not use)',
      once,
    );
}

/** Their part of the request. */
export function addressing({ advertiseAddr, dataPathAddr, gwbridgeSubnet }: AddressFlags) {
  return { AdvertiseAddr: advertiseAddr, DataPathAddr: dataPathAddr, GatewaySubnet: gwbridgeSubnet };
}

// A node that makes its keys and its first devices, or waits for a manager far away, takes its time.
/** Time limit of init, join and leave. */
export const membershipMs = 120_000;
