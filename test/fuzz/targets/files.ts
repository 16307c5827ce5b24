import assert from 'node:assert/strict';
import { parseServices } from '../../../agent/dns/services.ts';
import {
  parseOptions,
  parseResolvConf,
  parseSearch,
  parseServers,
  renderResolvConf,
} from '../../../agent/files/resolv-conf.ts';
import type { Target } from '../engine.ts';
import { byteInputs, takenIf } from '../inputs.ts';

const files = [
  'nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch corp.example example\noptions ndots:2 rotate\n',
  '# a stub\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\noptions edns0 trust-ad\nsearch .\n',
  ';\ndomain corp.example\nsortlist 192.0.2.0/255.255.255.0\noptions timeout:1\toptions\n',
];

const services = ['http 80/tcp www # WorldWideWeb\ndomain\t53/udp\n', '# none\n\nssh 22/tcp\r\n'];

/** Files of the host: what comes of them is written to those of sandboxes, or says what ports are called. */
export const fileTargets = (): Target[] => [
  {
    name: 'resolv.conf',
    weight: 3,
    ...byteInputs(files.map((text) => Buffer.from(text))),
    take: (bytes: Uint8Array) => {
      const { resolver, unusable } = parseResolvConf(Buffer.from(bytes).toString('utf8'));
      const { servers, search, options } = resolver;
      // Within the bounds of what a user may give, so that its text is too.
      assert.ok(parseServers(servers).ok && parseSearch(search).ok && parseOptions(options).ok);
      assert.deepEqual(parseResolvConf(renderResolvConf(resolver)).resolver, resolver);
      return takenIf(servers.length + unusable.length + search.length + options.length > 0);
    },
  },
  {
    name: 'services',
    weight: 1,
    ...byteInputs(services.map((text) => Buffer.from(text))),
    take: (bytes: Uint8Array) => {
      const ports = parseServices(Buffer.from(bytes).toString('utf8'));
      for (const port of ports.values()) assert.ok(port >= 1 && port <= 65_535);
      return takenIf(ports.size > 0);
    },
  },
];
