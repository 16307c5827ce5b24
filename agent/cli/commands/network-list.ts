import { type Command, InvalidArgumentError } from 'commander';
import type { Network } from '../../api/schema.ts';
import { define } from '../define.ts';
import type { Session } from '../session.ts';
import { shortId, table } from '../text.ts';

/** What a network must be to be listed: one of the values of each kind, and all of the labels. */
type Filters = Partial<Record<FilterKind, string[]>>;
type FilterKind = (typeof filterKinds)[number];
const filterKinds = ['driver', 'id', 'label', 'name', 'scope'] as const;

interface Flags {
  readonly quiet?: boolean;
  readonly trunc: boolean;
  readonly filter?: Filters;
}

/** `weft network ls`. */
export function addNetworkList(parent: Command, session: Session): void {
  define(parent, 'ls', {
    summary: 'List the networks',
    examples: ['weft network ls', 'weft network ls --filter label=team=shop', 'weft network ls -q --no-trunc'],
  })
    .alias('list')
    .option('-q, --quiet', 'ids alone')
    .option('--no-trunc', 'whole ids')
    .option('-f, --filter <key=value>', 'driver=, id=, label=, name= or scope= (repeatable)', parseFilter)
    .action(
      session.action<Flags>(async (context, flags) => {
        const all = await context.client.call('networkList');
        const networks = all.filter((network) => matches(network, flags.filter ?? {}));
        context.document(networks);
        context.print(render(networks, flags));
      }),
    );
}

function render(networks: readonly Network[], { quiet, trunc }: Flags): string {
  const id = (network: Network) => (trunc ? shortId(network.Id) : network.Id);
  if (quiet) return networks.map((network) => `${id(network)}\n`).join('');
  const rows = networks.map((network) => [
    id(network),
    network.Name,
    network.Driver,
    network.Scope,
    network.IPAM.Config.map(({ Subnet: subnet }) => subnet).join(',') || '-',
    String(network.VNI ?? '-'),
    String(network.Endpoints ?? '-'),
  ]);
  return table(['NETWORK ID', 'NAME', 'DRIVER', 'SCOPE', 'SUBNET', 'VNI', 'ENDPOINTS'], rows);
}

function parseFilter(text: string, previous: Filters = {}): Filters {
  const at = text.indexOf('=');
  const kind = filterKinds.find((known) => known === text.slice(0, at));
  if (kind === undefined) {
    throw new InvalidArgumentError(`Want KEY=VALUE with one of the keys ${filterKinds.join(', ')}.`);
  }
  return { ...previous, [kind]: [...(previous[kind] ?? []), text.slice(at + 1)] };
}

// Docker's meaning: names match in part, ids from the start.
function matches(network: Network, filters: Filters): boolean {
  const some = (kind: FilterKind, test: (value: string) => boolean) => filters[kind]?.some(test) ?? true;
  return (
    some('driver', (driver) => network.Driver === driver) &&
    some('scope', (scope) => network.Scope === scope) &&
    some('id', (id) => network.Id.startsWith(id)) &&
    some('name', (name) => network.Name.includes(name)) &&
    (filters.label ?? []).every((wanted) => hasLabel(network.Labels, wanted))
  );
}

function hasLabel(labels: Network['Labels'], wanted: string): boolean {
  const at = wanted.indexOf('=');
  const key = at === -1 ? wanted : wanted.slice(0, at);
  return Object.hasOwn(labels, key) && (at === -1 || labels[key] === wanted.slice(at + 1));
}
