import assert from 'node:assert/strict';
import { parsePublish } from '../../../agent/ports/publish.ts';
import { parsePublishedPort, parseServicePort } from '../../../agent/ports/service-ports.ts';
import { parseSctpEndpoints, parseSockets } from '../../../dataplane/listeners.ts';
import type { Target } from '../engine.ts';
import { byteInputs, takenIf } from '../inputs.ts';

const words = ['8080:80', '127.0.0.1:8000-8009:80-89/udp', '0.0.0.0::53/sctp', '80-90'];
const sockets = [
  '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7 1 0 100 0 0 10 0\n',
  '   1: 0000000000000000FFFF00000100007F:0035 00000000000000000000000000000000:0000 0A 0:0 00:0 0     0        0 8 2\n',
];
const endpoints = ['ffff9d3c 0 2   10  29   3868     0 12345 10.0.0.1\n'];

/** What a user asks to be published, and who the kernel says has a port. */
export const portTargets = (): Target[] => [
  {
    name: 'ports to publish',
    weight: 3,
    ...byteInputs(words.map((text) => Buffer.from(text))),
    take: (bytes: Uint8Array) => {
      const parsed = parsePublish(Buffer.from(bytes).toString('utf8'));
      if (parsed.ok) for (const { port } of parsed.value) assert.ok(port >= 1 && port <= 65_535);
      return takenIf(parsed.ok);
    },
  },
  {
    name: 'ports of services',
    weight: 2,
    ...byteInputs(['8080:80', '8000-8009:80-89/udp', '8080/sctp', '80-90'].map((text) => Buffer.from(text))),
    take: (bytes: Uint8Array) => {
      const text = Buffer.from(bytes).toString('utf8');
      const [published, back] = [parseServicePort(text), parsePublishedPort(text)];
      for (const parsed of [published, back]) {
        if (!parsed.ok) continue;
        assert.ok(parsed.value.count >= 1 && parsed.value.published >= 1);
        assert.ok(parsed.value.published + parsed.value.count - 1 <= 65_535);
      }
      return takenIf(published.ok || back.ok);
    },
  },
  {
    name: 'sockets of the host',
    weight: 2,
    ...byteInputs([...sockets, ...endpoints].map((text) => Buffer.from(text))),
    take: (bytes: Uint8Array) => {
      const text = Buffer.from(bytes).toString('latin1');
      const found = [...parseSockets(text, 'tcp'), ...parseSctpEndpoints(text)];
      for (const { ip } of found) assert.ok(ip === null || /^\d{1,3}(\.\d{1,3}){3}$/.test(ip));
      return takenIf(found.length > 0);
    },
  },
];
