/** An underlay address and TCP or UDP port. */
export interface HostPort {
  /** IPv4 or IPv6 address, no brackets. */
  readonly host: string;
  readonly port: number;
}

/** Parses `10.0.0.1:7946`, `[fd00::1]:7946`, and, with a default port, also addresses or names without one. */
export function parseHostPort(text: string, defaultPort?: number): HostPort | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+))(?::(\d{1,5}))?$/.exec(text);
  if (match === null) {
    // A bare IPv6 address has colons of its own and so no port.
    return defaultPort !== undefined && /^[0-9a-fA-F:.]+$/.test(text) ? { host: text, port: defaultPort } : null;
  }
  const host = match[1] ?? match[2] ?? '';
  const port = match[3] === undefined ? defaultPort : Number(match[3]);
  if (host === '' || port === undefined || port < 1 || port > 65535) return null;
  return { host, port };
}

export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
