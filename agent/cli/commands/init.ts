import type { Command } from 'commander';
import { define } from '../define.ts';
import { collect, duration, port, whole } from '../parse.ts';
import type { Session } from '../session.ts';
import { type AddressFlags, addAddressing, addressing, membershipMs } from './addressing.ts';
import { joinCommand } from './join-token.ts';

interface Flags extends AddressFlags {
  readonly dataPathPort?: number;
  readonly defaultAddrPool?: string[];
  readonly defaultAddrPoolMaskLength?: number;
  readonly certExpiry?: number;
  readonly ipv6?: boolean;
}

/** `weft init`. */
export function addInit(parent: Command, session: Session): void {
  const command = define(parent, 'init', {
    summary: 'Make a new cluster with this node as its first manager',
    examples: [
      'weft init',
      'weft init --ipv6',
      'weft init --advertise-addr 192.0.2.10 --default-addr-pool 10.20.0.0/16 --default-addr-pool-mask-length 24',
    ],
  });
  addAddressing(command)
    .option('--data-path-port <port>', 'UDP port of VXLAN', port)
    .option('--default-addr-pool <cidr>', 'block that new networks get their subnets from (repeatable)', collect)
    .option('--default-addr-pool-mask-length <n>', 'prefix length of those subnets', whole(1, 32))
    .option('--ipv6', 'publish ports over IPv6, too; all hosts of the cluster will forward IPv6')
    .option('--cert-expiry <duration>', 'how long a certificate of a node lasts (default: 2160h, 90 days)', duration)
    .action(
      session.action<Flags>(async (context, flags) => {
        const reply = await context.progress(
          'Making a cluster',
          context.client.call('init', {
            body: {
              ...addressing(flags),
              DataPathPort: flags.dataPathPort,
              DefaultAddrPool: flags.defaultAddrPool,
              SubnetSize: flags.defaultAddrPoolMaskLength,
              NodeCertExpiryMs: flags.certExpiry,
              EnableIPv6: flags.ipv6,
            },
            timeoutMs: membershipMs,
          }),
        );
        context.document(reply);
        context.print(
          [
            `Cluster initialized: current node (${reply.NodeID}) is now a manager.`,
            '',
            'To add a worker to this cluster, run the following command:',
            '',
            `    ${joinCommand(reply.JoinTokens.Worker, reply.JoinAddr)}`,
            '',
            "To add a manager to this cluster, run 'weft join-token manager' and follow the instructions.",
            '',
          ].join('\n'),
        );
      }),
    );
}
