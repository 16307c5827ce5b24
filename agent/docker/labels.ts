import { allowWords } from '../../controlplane/labelled-ports.ts';
import { isName } from '../../controlplane/tables/kinds.ts';
import { type AskedPorts, maxAskedPorts } from '../../controlplane/tables/services.ts';
import type { Network } from '../../controlplane/tables/view.ts';
import { parseServicePort } from '../ports/service-ports.ts';
import type { DockerContainerSummary } from './shapes.ts';
import type { DockerEndpoint } from './state.ts';

// What containers ask by their labels to be published. Pure.

/** `8080:80/tcp,8000-8010:80-90/udp` */
const publishLabel = 'weft.publish';
/** Which of its networks is meant. */
const networkLabel = 'weft.network';
/** Compose gives it, and the same as an alias. */
const serviceLabel = 'com.docker.compose.service';

export interface Asked {
  /** By endpoint. */
  readonly asked: ReadonlyMap<string, AskedPorts>;
  /** What cannot be heeded, one line each. */
  readonly problems: readonly string[];
}

/** @param networkOf the network of the cluster behind one of Docker's; null for one that is none */
export function askedOf(
  containers: readonly DockerContainerSummary[],
  networkOf: (dockerNetwork: string) => Pick<Network, 'name' | 'ingress' | 'internal'> | null,
): Asked {
  const asked = new Map<string, AskedPorts>();
  const problems: string[] = [];
  for (const { name, labels, networks } of containers) {
    const label = labels.get(publishLabel) ?? '';
    if (label === '') continue;
    const legs = [...networks.values()].flatMap(({ endpointId, networkId }) => {
      const network = endpointId === '' ? null : networkOf(networkId);
      return network === null || network.ingress || network.internal ? [] : [{ endpointId, network: network.name }];
    });
    // One that does not run has none.
    if (legs.length === 0) continue;
    const read = readLabels(name, labels, label, legs);
    if (typeof read === 'string')
      problems.push(`container ${name} has the label ${publishLabel}=${shown(label)}: ${read}`);
    else asked.set(read.endpointId, read.asks);
  }
  return { asked, problems };
}

/** Lines for a worker's operator. A worker shall not take ports of the whole cluster by what runs on it, unless a manager allows it. */
export const unheardOf = (
  endpoints: readonly Pick<DockerEndpoint, 'name' | 'netns' | 'asks'>[],
  hostname: string,
): string[] =>
  endpoints.flatMap(({ name, netns, asks }) =>
    netns === null || asks === null
      ? []
      : [
          `container ${name} asks by its label ${publishLabel} for ports of the cluster, and this node is not a manager: run it on one, or there \
\`weft publish ${asks.service}\`, or \`${allowWords(hostname)}\` for all that runs here`,
        ],
  );

/** What it says, or why it says nothing. */
function readLabels(
  container: string,
  labels: ReadonlyMap<string, string>,
  label: string,
  legs: readonly { readonly endpointId: string; readonly network: string }[],
): { readonly endpointId: string; readonly asks: AskedPorts } | string {
  const service = labels.get(serviceLabel) || container;
  if (!isName(service)) return `nothing can be called ${shown(service)}`;
  const words = label.split(',').map((word) => word.trim());
  if (words.length > maxAskedPorts) return `that is more than ${maxAskedPorts}; ranges count as one`;
  const ports: AskedPorts['ports'] = [];
  for (const word of words) {
    const parsed = parseServicePort(word);
    if (!parsed.ok) return parsed.reason;
    const { protocol, published, target, count } = parsed.value;
    ports.push([protocol, published, target, count]);
  }
  const wanted = labels.get(networkLabel);
  const meant = legs.filter(({ network }) => wanted === undefined || network === wanted);
  const [leg, ...more] = meant;
  if (leg === undefined) return `it is not on network ${shown(wanted ?? '')}, which its label ${networkLabel} names`;
  if (more.length > 0) {
    const names = legs.map(({ network }) => network).sort();
    return `it is on the networks ${names.join(', ')}: say with the label ${networkLabel} which one is meant`;
  }
  return { endpointId: leg.endpointId, asks: { service, ports } };
}

const shown = (text: string): string => JSON.stringify(text.slice(0, 64));
