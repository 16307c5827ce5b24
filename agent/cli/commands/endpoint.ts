import type { Command } from 'commander';
import type { Endpoint } from '../../api/schema.ts';
import { define } from '../define.ts';
import { once } from '../parse.ts';
import type { Session } from '../session.ts';
import { shortId, table } from '../text.ts';

interface Flags {
  readonly network?: string;
  readonly node?: string;
  readonly quiet?: boolean;
  readonly trunc: boolean;
}

/** `weft endpoint`. */
export function addEndpoint(parent: Command, session: Session): void {
  const endpoint = define(parent, 'endpoint', {
    summary: 'Look at the endpoints on all hosts',
    examples: ['weft endpoint ls --network frontend'],
  }).helpCommand(false);
  define(endpoint, 'ls', {
    summary: 'List the endpoints on all hosts',
    examples: ['weft endpoint ls', 'weft endpoint ls --network frontend --node host2'],
  })
    .alias('list')
    .option('--network <network>', 'only those on this network', once)
    .option('--node <node>', 'only those on this node', once)
    .option('-q, --quiet', 'ids alone')
    .option('--no-trunc', 'whole ids')
    .action(
      session.action<Flags>(async (context, flags) => {
        const endpoints = await context.client.call('endpointList', {
          query: { network: flags.network, node: flags.node },
        });
        context.document(endpoints);
        context.print(render(endpoints, flags));
      }),
    );
}

function render(endpoints: readonly Endpoint[], { quiet, trunc }: Flags): string {
  const id = (endpoint: Endpoint) => (trunc ? shortId(endpoint.ID) : endpoint.ID);
  if (quiet) return endpoints.map((endpoint) => `${id(endpoint)}\n`).join('');
  const rows = endpoints.map((endpoint) => [
    id(endpoint),
    endpoint.Network,
    endpoint.Ready ? endpoint.Name : `${endpoint.Name} (not ready)`,
    endpoint.Node,
    endpoint.IPv4Address,
    endpoint.IPv6Address,
    endpoint.MacAddress,
    endpoint.VTEP,
    endpoint.Aliases.join(','),
  ]);
  return table(
    ['ENDPOINT ID', 'NETWORK', 'NAME', 'NODE', 'IPV4 ADDRESS', 'IPV6 ADDRESS', 'MAC ADDRESS', 'VTEP', 'ALIASES'],
    rows,
  );
}
