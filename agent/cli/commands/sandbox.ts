import type { Command } from 'commander';
import type { Sandbox } from '../../api/schema.ts';
import { define } from '../define.ts';
import { usage } from '../failure.ts';
import { collect, label, once, whole } from '../parse.ts';
import { each, type Session, writeJson } from '../session.ts';
import { relative, shortId, table } from '../text.ts';
import { addSandboxExec } from './sandbox-exec.ts';

/** `weft sandbox`. */
export function addSandbox(parent: Command, session: Session): void {
  const sandbox = define(parent, 'sandbox', {
    summary: 'Make, use and remove network namespaces with endpoints on networks',
    examples: ['weft sandbox create --network frontend web', 'weft sandbox exec web -- ip addr'],
  }).helpCommand(false);
  addCreate(sandbox, session);
  addList(sandbox, session);
  addInspect(sandbox, session);
  addSandboxExec(sandbox, session);
  addRemove(sandbox, session);
}

interface CreateFlags {
  readonly network?: string[];
  readonly netns?: string;
  readonly pid?: number;
  readonly networkAlias?: string[];
  readonly ip?: string;
  readonly ip6?: string;
  readonly label?: Record<string, string>;
  readonly hostname?: string;
  readonly dns?: string[];
  readonly dnsSearch?: string[];
  readonly dnsOption?: string[];
  readonly publish?: string[];
}

function addCreate(parent: Command, session: Session): void {
  define(parent, 'create', {
    summary: 'Make a sandbox, or adopt a namespace as one; prints its id',
    details:
      'With neither --netns nor --pid a namespace is made, and removed with the sandbox. `ip netns exec` and `weft sandbox' +
      ' exec` show a command /etc/hostname, hosts and resolv.conf of the sandbox; `weft sandbox inspect` says where they' +
      ' are. What no --dns option says, resolv.conf has from the configuration of the agent, or else from the host; its nameserver' +
      ' is the agent, where a network leads out, which knows the names of the networks that the sandbox is on.' +
      '\n\nPorts are published as with Docker: [IP:][HOSTPORT[-LAST]:]PORT[-LAST][/tcp|udp|sctp]. Without a port of the host, or' +
      ' with 0, one that is free is chosen; `weft sandbox ls` shows it.',
    examples: [
      'weft sandbox create --network frontend --network backend web',
      'weft sandbox create --network frontend --network-alias db postgres',
      'weft sandbox create --network frontend --ip 10.0.1.7 --ip6 fd00:10:9:1::7 web',
      'weft sandbox create --network frontend -p 8080:80 -p 127.0.0.1:5353:53/udp web',
      'weft sandbox create --network frontend --netns /run/netns/blue blue',
      'weft sandbox create --network frontend --pid 4242',
      'weft sandbox create --network frontend --dns 192.0.2.53 --dns-search corp.example --dns-option ndots:2 web',
    ],
  })
    .argument('[name]', 'name of the sandbox (default: made up)')
    .option('--network <network>', 'network to connect to (repeatable)', collect)
    .option('--netns <path>', 'adopt the namespace at this path', once)
    .option('--pid <pid>', 'adopt the namespace of this process', whole(1, 4194304))
    .option('--alias, --network-alias <name>', 'name besides the own one that resolves to it (repeatable)', collect)
    .option('--ip <ip>', 'that IPv4 address and no other, on the one network', once)
    .option('--ip6 <ip>', 'that IPv6 address and no other, on the one network', once)
    .option('--label <key=value>', 'label (repeatable)', label)
    .option('--hostname <name>', 'name in its /etc/hostname and /etc/hosts (default: its name)', once)
    .option('--dns <ip>', 'nameserver in its /etc/resolv.conf (repeatable)', collect)
    .option('--dns-search <domain>', 'search domain in there; . alone for none (repeatable)', collect)
    .option('--dns-opt, --dns-option <option>', 'resolver option in there (repeatable)', collect)
    .option('-p, --publish <ports>', 'port of this host that leads to one of the sandbox (repeatable)', collect)
    .action(
      session.action<CreateFlags>(async (context, flags, [name]) => {
        if (flags.netns !== undefined && flags.pid !== undefined) throw usage('--netns and --pid exclude each other');
        const work = context.client.call('sandboxCreate', {
          body: {
            Name: name,
            Networks: flags.network ?? [],
            NetnsPath: flags.netns,
            Pid: flags.pid,
            Aliases: flags.networkAlias,
            IPAddress: flags.ip,
            GlobalIPv6Address: flags.ip6,
            Labels: flags.label,
            Hostname: flags.hostname,
            Dns: flags.dns,
            DnsSearch: flags.dnsSearch,
            DnsOptions: flags.dnsOption,
            Publish: flags.publish,
          },
          timeoutMs: 60_000,
        });
        const sandbox = await context.progress('Making the sandbox', work, 1_000);
        context.document(sandbox);
        context.print(`${sandbox.ID}\n`);
      }),
    );
}

interface ListFlags {
  readonly quiet?: boolean;
  readonly trunc: boolean;
}

function addList(parent: Command, session: Session): void {
  define(parent, 'ls', {
    summary: 'List the sandboxes of this host',
    examples: ['weft sandbox ls', 'weft sandbox rm $(weft sandbox ls -q)'],
  })
    .alias('list')
    .option('-q, --quiet', 'ids alone')
    .option('--no-trunc', 'whole ids')
    .action(
      session.action<ListFlags>(async (context, flags) => {
        const sandboxes = await context.client.call('sandboxList');
        context.document(sandboxes);
        context.print(render(sandboxes, flags, context.io.now()));
      }),
    );
}

function render(sandboxes: readonly Sandbox[], { quiet, trunc }: ListFlags, nowMs: number): string {
  const id = (sandbox: Sandbox) => (trunc ? shortId(sandbox.ID) : sandbox.ID);
  if (quiet) return sandboxes.map((sandbox) => `${id(sandbox)}\n`).join('');
  const rows = sandboxes.map((sandbox) => [
    id(sandbox),
    sandbox.Name,
    relative(sandbox.Created, nowMs),
    state(sandbox),
    ports(sandbox),
    sandbox.Networks.map(shown).join(', '),
    sandbox.NetnsPath,
  ]);
  return table(['SANDBOX ID', 'NAME', 'CREATED', 'STATUS', 'PORTS', 'NETWORKS', 'NETNS'], rows);
}

/** As Docker shows them: `0.0.0.0:8080->80/tcp`. */
function ports({ Ports: all }: Sandbox): string {
  const shown = Object.entries(all).flatMap(([port, bindings]) =>
    bindings.map(({ HostIp: ip, HostPort: hostPort }) => `${ip}:${hostPort}->${port}`),
  );
  return shown.join(', ');
}

const shown = (endpoint: Sandbox['Networks'][number]): string => {
  const addresses = addressesOf(endpoint);
  return addresses === '' ? endpoint.Network : `${endpoint.Network}=${addresses}`;
};

const addressesOf = ({ IPv4Address: four, IPv6Address: six }: Sandbox['Networks'][number]): string =>
  [four, six].filter((address) => address !== '').join(' ');

function state({ Networks: endpoints }: Sandbox): string {
  const late = endpoints.filter(({ Status: status }) => status !== 'ok');
  return late.length === 0 ? 'ok' : late.map((endpoint) => `${endpoint.Network}: ${endpoint.Status}`).join('; ');
}

function addInspect(parent: Command, session: Session): void {
  define(parent, 'inspect', {
    summary: 'Show all that is known of sandboxes of this host, as a JSON array',
    examples: ['weft sandbox inspect web', "weft sandbox inspect web | jq -r '.[0].NetnsPath'"],
  })
    .argument('<sandbox...>', 'names, ids or starts of ids')
    .action(
      session.action(async (context, _flags, refs) => {
        const found = await each(context, refs, (ref) => context.client.call('sandboxInspect', { ref }));
        writeJson(context.io.stdout, found);
      }),
    );
}

function addRemove(parent: Command, session: Session): void {
  define(parent, 'rm', {
    summary: 'Remove sandboxes and their endpoints',
    details: 'A namespace that was adopted stays.',
    examples: ['weft sandbox rm web'],
  })
    .alias('remove')
    .argument('<sandbox...>', 'names, ids or starts of ids')
    .action(
      session.action(async (context, _flags, refs) => {
        const removed = await each(context, refs, async (ref) => {
          await context.client.call('sandboxRemove', { ref });
          context.print(`${ref}\n`);
          return ref;
        });
        context.document(removed);
      }),
    );
}
