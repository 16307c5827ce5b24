import { statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Parsed } from '../../dataplane/values.ts';
import { readBounded } from '../files/bounded.ts';

/** Where a plugin takes requests. */
export type PluginAddress =
  | { readonly kind: 'unix'; readonly path: string }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number };

export interface PluginPlaces {
  readonly sockets: string;
  readonly specs: readonly string[];
}

/** Where Docker looks for legacy plugins (docs.docker.com, Docker Plugin API, Plugin discovery). */
export const pluginPlaces: PluginPlaces = {
  sockets: '/run/docker/plugins',
  specs: ['/etc/docker/plugins', '/usr/lib/docker/plugins'],
};

// An address, and perhaps names of three key files.
const maxSpecBytes = 16 * 1024;

export const isPluginName = (name: string): boolean => /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/.test(name);

/** The plugin of that name: a socket first, then a spec file, as Docker looks; null when there is none. */
export function findPlugin(name: string, places: PluginPlaces = pluginPlaces): Parsed<PluginAddress> | null {
  if (!isPluginName(name)) return null;
  for (const path of [join(places.sockets, `${name}.sock`), join(places.sockets, name, `${name}.sock`)]) {
    if (statSync(path, { throwIfNoEntry: false })?.isSocket()) return { ok: true, value: { kind: 'unix', path } };
  }
  for (const directory of places.specs) {
    for (const path of [`${name}.spec`, `${name}.json`].map((file) => join(directory, file))) {
      try {
        const text = readBounded(path, maxSpecBytes);
        if (text === null) continue;
        const parsed = parseSpec(text, path.endsWith('.json'));
        return parsed.ok ? parsed : { ok: false, reason: `${path}: ${parsed.reason}` };
      } catch (error) {
        return { ok: false, reason: (error as Error).message };
      }
    }
  }
  return null;
}

const JsonSpec = z.object({ Addr: z.string(), TLSConfig: z.unknown().optional() });

/** Reads a spec file: a URL alone, or JSON with one. */
export function parseSpec(text: string, isJson: boolean): Parsed<PluginAddress> {
  if (!isJson) return parseAddress(text.trim());
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return { ok: false, reason: 'it is not JSON' };
  }
  const spec = JsonSpec.safeParse(json);
  if (!spec.success) return { ok: false, reason: 'it has no Addr' };
  if (spec.data.TLSConfig !== undefined && spec.data.TLSConfig !== null) {
    return { ok: false, reason: 'plugins that want TLS are not supported' };
  }
  return parseAddress(spec.data.Addr);
}

function parseAddress(text: string): Parsed<PluginAddress> {
  const bad: Parsed<never> = {
    ok: false,
    reason: 'want an address such as unix:///run/plugin.sock or tcp://127.0.0.1:8080',
  };
  // sun_path of unix(7) is 108 bytes with its end.
  const path = /^unix:\/\/(\/[^\0\n]{1,106})$/.exec(text)?.[1];
  if (path !== undefined) return { ok: true, value: { kind: 'unix', path } };
  const [, host = '', port = ''] =
    /^(?:tcp|http):\/\/([A-Za-z0-9.-]{1,253}|\[[0-9a-f:]+\]):(\d{1,5})\/?$/.exec(text) ?? [];
  const number = Number(port);
  if (host === '' || number < 1 || number > 65_535) return bad;
  return { ok: true, value: { kind: 'tcp', host: host.replace(/^\[(.*)\]$/, '$1'), port: number } };
}
