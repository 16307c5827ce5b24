import { readFileSync } from 'node:fs';

// Names of ports as /etc/services has them (services(5)): `http 80/tcp www`.

const path = '/etc/services';
// Debian's has 350.
const maxServices = 16_384;

/** The port of a service by its name in lower case, or its number; null for one that has none. */
export type PortOf = (service: string, protocol: string) => number | null;

/** By number alone. */
export const byNumber: PortOf = (service) => {
  const port = /^[1-9]\d{0,4}$/.test(service) ? Number(service) : 0;
  return port > 0 && port <= 65_535 ? port : null;
};

/** Ports by `NAME/PROTOCOL`; the first that says so counts, and what is past a bound does not. */
export function parseServices(text: string): ReadonlyMap<string, number> {
  const ports = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [name, of = '', ...aliases] = line.replace(/#.*/, '').trim().toLowerCase().split(/\s+/);
    const [number = '', protocol] = of.split('/');
    const port = byNumber(number, '');
    if (name === undefined || port === null) continue;
    for (const each of [name, ...aliases]) {
      if (ports.size >= maxServices) return ports;
      const key = `${each}/${protocol}`;
      if (!ports.has(key)) ports.set(key, port);
    }
  }
  return ports;
}

/** By number, and by what this host calls them, which is read when somebody first asks. */
export function portsOfHost(): PortOf {
  let known: ReadonlyMap<string, number> | null = null;
  return (service, protocol) => {
    const port = byNumber(service, protocol);
    if (port !== null) return port;
    known ??= parseServices(readServices());
    return known.get(`${service}/${protocol}`) ?? null;
  };
}

function readServices(): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // Minimal systems have none, and numbers only.
    return '';
  }
}
