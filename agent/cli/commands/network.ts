import { type Command, Option } from 'commander';
import { define, takeSwitchValues } from '../define.ts';
import { dryRunWords, printDryRun } from '../dry-run.ts';
import { usage } from '../failure.ts';
import { collect, keyValue, label, once } from '../parse.ts';
import { each, type Session, warn, writeJson } from '../session.ts';
import { addNetworkList } from './network-list.ts';

/** `weft network`. */
export function addNetwork(parent: Command, session: Session): void {
  const network = define(parent, 'network', {
    summary: 'Make, look at and remove networks; connect sandboxes to them',
    examples: ['weft network create frontend', 'weft network ls'],
  }).helpCommand(false);
  addCreate(network, session);
  addNetworkList(network, session);
  addInspect(network, session);
  addUpdate(network, session);
  addRemove(network, session);
  addConnect(network, session);
  addDisconnect(network, session);
}

interface CreateFlags {
  readonly driver?: string;
  readonly subnet?: string[];
  readonly gateway?: string[];
  readonly ipRange?: string[];
  readonly auxAddress?: Record<string, string>;
  readonly internal?: boolean;
  readonly attachable?: boolean;
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  readonly opt?: Record<string, string>;
  readonly label?: Record<string, string>;
  readonly dryRun?: boolean;
}

function addCreate(parent: Command, session: Session): void {
  const create = define(parent, 'create', {
    summary: 'Create a network; prints its id',
    details: `An overlay network is on all nodes, any other on this host alone. Every host has the networks host and none.
Options, as Docker's: of driver bridge com.docker.network.bridge.name (a bridge that is there), .enable_icc,
.enable_ip_masquerade, .host_binding_ipv4; of driver macvlan parent (such as eth0, or eth0.20 for its VLAN 20) and
macvlan_mode (bridge, private, vepa, passthru).`,
    examples: [
      'weft network create frontend',
      'weft network create -d bridge -o com.docker.network.bridge.enable_icc=false lan',
      'weft network create -d macvlan -o parent=eth0 --subnet 192.0.2.0/24 --ip-range 192.0.2.192/27 wire',
      'weft network create --subnet 10.9.0.0/24 --gateway 10.9.0.1 --internal backend',
      'weft network create -o mtu=1400 --label team=shop frontend',
      'weft network create --ipv6 --subnet 10.9.1.0/24 --subnet fd00:10:9:1::/64 dual',
      'weft network create --ipv6 --ipv4=false modern',
    ],
  });
  takeSwitchValues(create)
    .argument('<name>', 'name of the network')
    .option('-d, --driver <driver>', 'overlay, bridge or macvlan (default: overlay)', once)
    .option('--subnet <cidr>', 'subnet, of each family one (default: the next of the pool, a /64 of fd00::/8)', collect)
    .option('--gateway <ip>', 'gateway in the subnet of its family', collect)
    .option('--ip-range <cidr>', 'part of the subnet of its family that addresses are taken from', collect)
    .option('--aux-address <name=ip>', 'address that something else holds (repeatable)', keyValue)
    .option('--internal', 'no way out of the network')
    .option('--attachable', 'as with Docker; every network is')
    .option('--ipv4', 'IPv4 addresses, which --ipv4=false leaves out')
    .addOption(new Option('--no-ipv4', 'none: as --ipv4=false').hideHelp())
    .option('--ipv6', 'IPv6 addresses too')
    .option('-o, --opt <key=value>', 'option of the driver (repeatable)', keyValue)
    .option('--label <key=value>', 'label (repeatable)', label)
    .option('--dry-run', dryRunWords)
    .action(
      session.action<CreateFlags>(async (context, flags, [name = '']) => {
        const body = {
          Name: name,
          Driver: flags.driver,
          Internal: flags.internal,
          Attachable: flags.attachable,
          EnableIPv4: flags.ipv4,
          EnableIPv6: flags.ipv6,
          IPAM: ipam(flags),
          Options: flags.opt,
          Labels: flags.label,
        };
        if (flags.dryRun) return printDryRun(context, [{ Verb: 'networkCreate', Request: body }]);
        const reply = await context.client.call('networkCreate', { body });
        context.document(reply);
        if (reply.Warning !== '') warn(context, reply.Warning);
        context.print(`${reply.Id}\n`);
      }),
    );
}

/** As with Docker, what narrows a subnet goes with the one that it belongs to; here that is the one of its family. */
function ipam({ subnet = [], gateway = [], ipRange = [], auxAddress = {} }: CreateFlags) {
  const isSix = (text: string): boolean => text.includes(':');
  const config = subnet.map((cidr) => {
    const ofFamily = (text: string): boolean => isSix(text) === isSix(cidr);
    const aux = Object.entries(auxAddress).filter(([, ip]) => ofFamily(ip));
    return {
      Subnet: cidr,
      Gateway: gateway.find(ofFamily),
      IPRange: ipRange.find(ofFamily),
      AuxiliaryAddresses: aux.length === 0 ? undefined : Object.fromEntries(aux),
    };
  });
  for (const six of [false, true]) {
    const count = (texts: readonly string[]): number => texts.filter((text) => isSix(text) === six).length;
    const family = six ? 'IPv6' : 'IPv4';
    if (count(subnet) > 1)
      throw usage(`--subnet is given twice for ${family}`, 'see `weft network update --subnet-add`');
    for (const [flag, texts] of [
      ['--gateway', gateway],
      ['--ip-range', ipRange],
      ['--aux-address', Object.values(auxAddress)],
    ] as const) {
      if (count(texts) > 0 && count(subnet) === 0) throw usage(`${flag} needs --subnet${six ? ' for IPv6' : ''}`);
      if (count(texts) > 1 && flag !== '--aux-address') throw usage(`${flag} is given twice for ${family}`);
    }
  }
  return config.length === 0 ? undefined : { Config: config };
}

interface UpdateFlags {
  readonly subnetAdd?: string;
  readonly gateway?: string;
  readonly ipRange?: string;
  readonly auxAddress?: Record<string, string>;
}

function addUpdate(parent: Command, session: Session): void {
  define(parent, 'update', {
    summary: 'Give a network one more subnet; prints it',
    details: 'Addresses are taken from it when the subnets before it are full.',
    examples: [
      'weft network update --subnet-add auto frontend',
      'weft network update --subnet-add 10.9.1.0/24 --gateway 10.9.1.1 frontend',
    ],
  })
    .argument('<network>', 'name, id or start of an id')
    .option('--subnet-add <cidr>', 'subnet to add; auto: the next of the pool', once)
    .option('--gateway <ip>', 'gateway in that subnet', once)
    .option('--ip-range <cidr>', 'part of that subnet that addresses are taken from', once)
    .option('--aux-address <name=ip>', 'address in it that something else holds (repeatable)', keyValue)
    .action(
      session.action<UpdateFlags>(async (context, { subnetAdd, gateway, ipRange, auxAddress }, [network = '']) => {
        if (subnetAdd === undefined) throw usage('nothing to change', 'give --subnet-add');
        const narrowing = { Gateway: gateway, IPRange: ipRange, AuxiliaryAddresses: auxAddress };
        const flag = ['--gateway', '--ip-range', '--aux-address'].find(
          (_, at) => Object.values(narrowing)[at] !== undefined,
        );
        if (subnetAdd === 'auto' && flag !== undefined) throw usage(`${flag} needs a subnet of your own`);
        const reply = await context.client.call('networkUpdate', {
          ref: network,
          body: { SubnetAdd: subnetAdd === 'auto' ? {} : { Subnet: subnetAdd, ...narrowing } },
        });
        context.document(reply);
        context.print(`${reply.Subnet}\n`);
      }),
    );
}

function addInspect(parent: Command, session: Session): void {
  define(parent, 'inspect', {
    summary: "Show all that is known of networks, as a JSON array with Docker's fields",
    examples: ['weft network inspect frontend', "weft network inspect frontend | jq '.[0].VNI'"],
  })
    .argument('<network...>', 'names, ids or starts of ids')
    .action(
      session.action(async (context, _flags, refs) => {
        const found = await each(context, refs, (ref) => context.client.call('networkInspect', { ref }));
        writeJson(context.io.stdout, found);
      }),
    );
}

function addRemove(parent: Command, session: Session): void {
  define(parent, 'rm', {
    summary: 'Remove networks; overlays from all nodes',
    examples: ['weft network rm frontend', 'weft network rm frontend backend'],
  })
    .alias('remove')
    .argument('<network...>', 'names, ids or starts of ids')
    .option('--dry-run', dryRunWords)
    .action(
      session.action<{ dryRun?: boolean }>(async (context, { dryRun }, refs) => {
        if (dryRun) {
          return printDryRun(
            context,
            refs.map((Network) => ({ Verb: 'networkRemove', Network })),
          );
        }
        const removed = await each(context, refs, async (ref) => {
          await context.client.call('networkRemove', { ref });
          context.print(`${ref}\n`);
          return ref;
        });
        context.document(removed);
      }),
    );
}

function addConnect(parent: Command, session: Session): void {
  define(parent, 'connect', {
    summary: 'Give a sandbox of this host an endpoint on a network',
    examples: [
      'weft network connect backend web',
      'weft network connect --dry-run backend web',
      'weft network connect --alias db backend postgres',
      'weft network connect --ip 10.0.1.7 --ip6 fd00:10:9:1::7 backend postgres',
    ],
  })
    .argument('<network>', 'name, id or start of an id')
    .argument('<sandbox>', 'name, id or start of an id')
    .option('--alias, --network-alias <name>', 'name besides the own one that resolves to it (repeatable)', collect)
    .option('--ip <ip>', 'that IPv4 address and no other', once)
    .option('--ip6 <ip>', 'that IPv6 address and no other', once)
    .option('--dry-run', dryRunWords)
    .action(
      session.action<{ networkAlias?: string[]; ip?: string; ip6?: string; dryRun?: boolean }>(
        async (context, flags, [network = '', sandbox = '']) => {
          const body = {
            Sandbox: sandbox,
            Aliases: flags.networkAlias,
            IPAddress: flags.ip,
            GlobalIPv6Address: flags.ip6,
          };
          if (flags.dryRun) {
            return printDryRun(context, [{ Verb: 'networkConnect', Network: network, Request: body }]);
          }
          const endpoint = await context.client.call('networkConnect', { ref: network, body });
          context.document(endpoint);
        },
      ),
    );
}

function addDisconnect(parent: Command, session: Session): void {
  define(parent, 'disconnect', {
    summary: 'Take a sandbox of this host off a network',
    examples: ['weft network disconnect backend web'],
  })
    .argument('<network>', 'name, id or start of an id')
    .argument('<sandbox>', 'name, id or start of an id')
    .action(
      session.action(async (context, _flags, [network = '', sandbox = '']) => {
        const reply = await context.client.call('networkDisconnect', { ref: network, body: { Sandbox: sandbox } });
        context.document(reply);
      }),
    );
}
