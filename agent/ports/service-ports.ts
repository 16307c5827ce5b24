import { PROTOCOLS, type Protocol } from '../../dataplane/desired.ts';
import type { Parsed } from '../../dataplane/values.ts';
import { parseRange, portsMax } from './publish.ts';

/** `count` ports one after another, of the nodes and, as far as they are told, of the endpoints. */
export interface ServicePortWords {
  readonly protocol: Protocol;
  readonly published: number;
  readonly target: number;
  readonly count: number;
}

const form = 'PUBLISHED[-LAST]:TARGET[-LAST][/tcp|udp|sctp], such as 8080:80 or 8000-8010:80-90/udp';

/** What is to be published of a service: every node answers, at all of its addresses, so that there is none to name. */
export function parseServicePort(text: string): Parsed<ServicePortWords> {
  const bad = (why: string): Parsed<never> => refused('publish', text, why);
  const protocol = protocolOf(text);
  if (protocol === null) return bad(`want ${form}`);
  const parts = (text.split('/')[0] ?? '').split(':');
  if (parts.length > 2) return bad('every node answers, at all of its addresses: leave the address out');
  const [published, target] = parts.map(parseRange);
  if (target === undefined) return bad(`want ${form}`);
  if (!published || !target) return bad('want ports from 1 to 65535, or ranges of them');
  const [count, targets] = [published, target].map(([first, last]) => last - first + 1);
  if (count === undefined || count !== targets) return bad('the two ranges are not as long as each other');
  if (count > portsMax) return bad(`${count} ports are more than ${portsMax}`);
  return { ok: true, value: { protocol, published: published[0], target: target[0], count } };
}

/** What is to be taken back: `8080`, `8000-8010/udp`. */
export function parsePublishedPort(text: string): Parsed<Omit<ServicePortWords, 'target'>> {
  const protocol = protocolOf(text);
  const range = parseRange(text.split('/')[0] ?? '');
  if (protocol === null || range === null) {
    return refused('take back', text, 'want PUBLISHED[-LAST][/tcp|udp|sctp], such as 8080 or 8000-8010/udp');
  }
  const count = range[1] - range[0] + 1;
  if (count > portsMax) return refused('take back', text, `${count} ports are more than ${portsMax}`);
  return { ok: true, value: { protocol, published: range[0], count } };
}

function refused(what: string, text: string, why: string): Parsed<never> {
  return { ok: false, reason: `cannot ${what} ${JSON.stringify(text.slice(0, 64))}: ${why}` };
}

function protocolOf(text: string): Protocol | null {
  const [, word = 'tcp', ...rest] = text.split('/');
  return rest.length > 0 ? null : (PROTOCOLS.find((known) => known === word.toLowerCase()) ?? null);
}
