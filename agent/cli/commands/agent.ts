import { type Command, Option } from 'commander';
import type { AgentFlags } from '../agent-flags.ts';
import { define } from '../define.ts';
import { collect, once, port } from '../parse.ts';
import type { Session } from '../session.ts';

/** The flags of `weft agent` and the global ones beside them. */
type Flags = AgentFlags & { readonly json?: boolean; readonly host?: string };

/** `weft agent`. */
export function addAgent(parent: Command, session: Session): void {
  define(parent, 'agent', {
    summary: 'Run the agent in the foreground',
    details: 'Normally started by systemd. A flag overrides the environment, and that the config file.',
    examples: ['weft agent', 'weft agent --config /etc/weft/agent.yaml --log-format pretty'],
  })
    .option('--config <file>', 'config file', once)
    .option('--state-dir <path>', 'directory of identity and tables', once)
    .option('--run-dir <path>', 'directory of sockets and namespaces', once)
    .option('--socket <path>', 'socket of the local API', once)
    .option('--socket-group <group>', 'group that may use the socket besides root', once)
    .option('--hostname <name>', "name of this node (default: the host's)", once)
    .option('--listen-addr <ip>', 'address at which gossip and joins are taken', once)
    .option('--advertise-addr <addr>', 'address that other nodes reach this one at, IP or IP:PORT', once)
    .option('--data-path-addr <ip>', 'address for VXLAN traffic (default: the advertise address)', once)
    .option('--gossip-port <port>', 'TCP port of the mesh', port)
    .option('--join-port <port>', 'TCP port at which nodes join', port)
    .option('--gateway-subnet <cidr>', 'subnet of docker_gwbridge', once)
    .option('--dns <ip>', "nameserver of sandboxes that name none (default: the host's; repeatable)", collect)
    .option('--dns-search <domain>', 'search domain of such sandboxes; . alone for none (repeatable)', collect)
    .option('--dns-opts <option>', 'resolver option of such sandboxes (repeatable)', collect)
    .addOption(new Option('--drift <what>', 'what becomes of changes by others').choices(['repair', 'observe']))
    .option('--log-level <level>', 'least severe level that is logged', once)
    .addOption(new Option('--log-format <format>', 'how the log is written').choices(['json', 'pretty']))
    .action(
      session.action<Flags>(async (context, { json: _json, host: _host, ...flags }) => {
        context.exit(await context.io.runAgent(flags));
      }),
    );
}
