import { type Command, Option } from 'commander';
import type { Service } from '../../api/schema.ts';
import { parsePublishedPort, parseServicePort } from '../../ports/service-ports.ts';
import { define } from '../define.ts';
import { dryRunWords, printDryRun } from '../dry-run.ts';
import { usage } from '../failure.ts';
import { duration, durationOrNone, once } from '../parse.ts';
import { each, type Session, warn, writeJson } from '../session.ts';
import { oneLine, duration as span, table } from '../text.ts';

/** `weft service`. */
export function addService(parent: Command, session: Session): void {
  const service = define(parent, 'service', {
    summary: 'Look at the services: what is published, and virtual addresses',
    examples: ['weft service ls', 'weft service inspect web'],
  }).helpCommand(false);
  addList(service, session);
  addInspect(service, session);
}

interface PublishFlags {
  readonly network?: string;
  readonly source?: Service['Source'];
  readonly affinity?: number;
  readonly mode: Service['Ports'][number]['PublishMode'];
  readonly prefer?: Service['Prefer'];
  readonly drainTimeout?: number;
  readonly endpointMode?: Service['EndpointSpec']['Mode'];
  readonly vip?: boolean;
  readonly dryRun?: boolean;
}

/** `weft publish`. */
export function addPublish(parent: Command, session: Session): void {
  define(parent, 'publish', {
    summary: 'Have every node answer on ports for the endpoints of a name; prints what is published',
    details: `The endpoints are those of that name or alias on the network, on whatever host, now and later; connections are
spread over those that are ready. Nodes answer at all of their addresses. In mode host only nodes with an endpoint answer,
each for its own alone. What is published is added to what the service has, and what is not said stays as it is. In endpoint
mode vip the name leads, on its network, to one address of the service's own, and tasks.NAME to the endpoints; such a service
needs no port. The network may be left out where one alone has such endpoints, or where there is one alone.`,
    examples: [
      'weft publish web 8080:80',
      'weft publish --network frontend web 80:8080 443:8443 8000-8010:8000-8010/udp',
      'weft publish --affinity 10m --source snat web 8080:80',
      'weft publish --mode host web 8080:80',
      'weft publish --vip web',
      'weft publish --prefer zone --drain-timeout 30s web',
    ],
  })
    .argument('<service>', 'name or alias of the endpoints')
    .argument('[ports...]', 'PUBLISHED[-LAST]:TARGET[-LAST][/tcp|udp|sctp]')
    .option('--network <network>', 'network on which the endpoints are', once)
    .addOption(
      new Option(
        '--source <source>',
        'what they see: keep, the client; snat, the node it came in at; local, the client, and endpoints of that node alone answer',
      ).choices(['keep', 'snat', 'local']),
    )
    .option(
      '--affinity <duration>',
      'a client comes to the same endpoint for so long after its last connection',
      duration,
    )
    .addOption(
      new Option(
        '--prefer <whose>',
        'endpoints that come first while one of them takes connections: local, those of the node that was asked; zone, those of nodes with the same label zone; none',
      ).choices(['local', 'zone', 'none']),
    )
    .option(
      '--drain-timeout <duration>',
      'connections to an endpoint that takes no new ones end after so long; none: they may go on',
      durationOrNone,
    )
    .addOption(
      new Option('--endpoint-mode <mode>', 'what the name leads to: vip, one address; dnsrr, all endpoints').choices([
        'vip',
        'dnsrr',
      ]),
    )
    .option('--vip', 'short for --endpoint-mode vip')
    .addOption(
      new Option('--mode <mode>', 'who answers: ingress, every node; host, those with an endpoint')
        .choices(['ingress', 'host'])
        .default('ingress'),
    )
    .option('--dry-run', dryRunWords)
    .action(
      session.action<PublishFlags>(async (context, flags, [name = '', ...words]) => {
        const { network, source, affinity, mode, prefer, drainTimeout, dryRun } = flags;
        const endpointMode = flags.vip ? 'vip' : flags.endpointMode;
        if (flags.vip && flags.endpointMode === 'dnsrr')
          throw usage('--vip and --endpoint-mode dnsrr exclude each other');
        if (
          words.length === 0 &&
          [source, affinity, prefer, drainTimeout, endpointMode].every((each) => each === undefined)
        )
          throw usage('say what to publish: ports, such as 8080:80, or --vip');
        const Ports = words.map((word) => {
          const parsed = parseServicePort(word);
          if (!parsed.ok) throw usage(parsed.reason);
          const { protocol, published, target, count } = parsed.value;
          return { Protocol: protocol, PublishedPort: published, TargetPort: target, Count: count, PublishMode: mode };
        });
        const body = {
          ...{ Network: network, Ports, Source: source, AffinityMs: affinity, Prefer: prefer, DrainMs: drainTimeout },
          ...(endpointMode === undefined ? {} : { EndpointSpec: { Mode: endpointMode } }),
        };
        if (dryRun) return printDryRun(context, [{ Verb: 'servicePublish', Service: name, Request: body }]);
        const service = await context.client.call('servicePublish', { ref: name, body });
        context.document(service);
        if (service.Endpoints?.length === 0)
          warn(context, `nothing on network ${service.Network} is called ${service.Name} yet`);
        const addresses = service.VirtualIPs.map(({ Addr }) => Addr.split('/')[0]);
        context.print([...addresses, ...service.Ports.map(portText)].map((line) => `${line}\n`).join(''));
      }),
    );
}

/** `weft unpublish`. */
export function addUnpublish(parent: Command, session: Session): void {
  define(parent, 'unpublish', {
    summary: 'Take published ports back; without any, all of the service',
    details: 'Of a range a part may go. All of a service is its virtual address, too.',
    examples: ['weft unpublish web 8080', 'weft unpublish web 8000-8010/udp', 'weft unpublish --network frontend web'],
  })
    .argument('<service>', 'name, as `weft service ls` shows it')
    .argument('[ports...]', 'PUBLISHED[-LAST][/tcp|udp|sctp]')
    .option('--network <network>', 'network of the service, where several have one of that name', once)
    .option('--dry-run', dryRunWords)
    .action(
      session.action<{ network?: string; dryRun?: boolean }>(
        async (context, { network, dryRun }, [name = '', ...words]) => {
          const ports = words.map((word) => {
            const parsed = parsePublishedPort(word);
            if (!parsed.ok) throw usage(parsed.reason);
            const { protocol, published, count } = parsed.value;
            return { Protocol: protocol, PublishedPort: published, Count: count };
          });
          const body = { Network: network, Ports: ports.length === 0 ? undefined : ports };
          if (dryRun) return printDryRun(context, [{ Verb: 'serviceUnpublish', Service: name, Request: body }]);
          const reply = await context.client.call('serviceUnpublish', { ref: name, body });
          context.document(reply);
        },
      ),
    );
}

function addList(parent: Command, session: Session): void {
  define(parent, 'ls', {
    summary: 'List the services: names with published ports, or a virtual address',
    details: `ENDPOINTS: how many of them take connections now, and how many there are. CONNECTIONS to published ports: how many there are
now, and how many there were, of those that came in at this node.`,
    examples: ['weft service ls', 'weft service ls --network frontend'],
  })
    .alias('list')
    .option('--network <network>', 'only those on this network', once)
    .option('-q, --quiet', 'names alone')
    .action(
      session.action<{ network?: string; quiet?: boolean }>(async (context, { network, quiet }) => {
        const services = await context.client.call('serviceList', { query: { network } });
        context.document(services);
        context.print(quiet ? services.map(({ Name }) => `${oneLine(Name)}\n`).join('') : render(services));
      }),
    );
}

function addInspect(parent: Command, session: Session): void {
  define(parent, 'inspect', {
    summary: 'Show services with their ports and endpoints, as a JSON array',
    examples: [
      'weft service inspect web',
      "weft service inspect web | jq -r '.[0].Endpoints[] | select(.Backend).Node'",
    ],
  })
    .argument('<service...>', 'names')
    .option('--network <network>', 'network of the services, where several have one of that name', once)
    .action(
      session.action<{ network?: string }>(async (context, { network }, refs) => {
        const found = await each(context, refs, (ref) =>
          context.client.call('serviceInspect', { ref, query: { network } }),
        );
        writeJson(context.io.stdout, found);
      }),
    );
}

function render(services: readonly Service[]): string {
  const rows = services.map((service) => [
    service.Name,
    service.Network,
    modeText(service),
    service.Endpoints === null
      ? '-'
      : `${service.Endpoints.filter(takesConnections(service)).length}/${service.Endpoints.length}`,
    connectionsText(service),
    service.Ports.map(portText).join(', ') || '-',
    service.Source,
    service.AffinityMs === 0 ? '-' : span(service.AffinityMs),
    service.Prefer === 'none' ? '-' : service.Prefer,
    service.DrainMs === 0 ? '-' : span(service.DrainMs),
  ]);
  return table(
    ['NAME', 'NETWORK', 'MODE', 'ENDPOINTS', 'CONNECTIONS', 'PORTS', 'SOURCE', 'AFFINITY', 'PREFER', 'DRAIN'],
    rows,
  );
}

/** `vip 10.0.1.9`, `dnsrr`. */
const modeText = ({ EndpointSpec: { Mode }, VirtualIPs, LostVIP }: Service): string =>
  LostVIP === '' ? [Mode, ...VirtualIPs.map(({ Addr }) => Addr.split('/')[0])].join(' ') : `${Mode} (lost: ${LostVIP})`;

/** Now and in total, of those that came in at the node that was asked; `-` where it does not count them. */
function connectionsText({ Ports, Endpoints }: Service): string {
  if (Ports.length === 0 || Endpoints === null) return '-';
  const sum = (of: 'Active' | 'Total'): number => Endpoints.reduce((all, { Connections }) => all + Connections[of], 0);
  return `${sum('Active')}/${sum('Total')}`;
}

/** Published ports reach what has a leg on ingress; a virtual address needs none. */
const takesConnections =
  ({ Ports }: Service) =>
  (endpoint: NonNullable<Service['Endpoints']>[number]): boolean =>
    endpoint.Ready &&
    (endpoint.Backend || Ports.length === 0) &&
    endpoint.NodeStatus === 'ready' &&
    endpoint.NodeAvailability === 'active';

/** As Docker shows those of a service: `*:8080->80/tcp`. */
function portText({
  PublishedPort,
  TargetPort,
  Count,
  Protocol,
  PublishMode,
  ByLabel,
  LostTo,
}: Service['Ports'][number]): string {
  const range = (first: number): string => (Count === 1 ? `${first}` : `${first}-${first + Count - 1}`);
  const notes = [...(PublishMode === 'host' ? ['host'] : []), ...(ByLabel ? ['label'] : [])];
  const note = notes.length === 0 ? '' : ` (${notes.join(', ')})`;
  const text = `*:${range(PublishedPort)}->${range(TargetPort)}/${Protocol}${note}`;
  return LostTo === '' ? text : `${text} (it is of ${LostTo})`;
}
