import assert from 'node:assert/strict';
import { PluginError, readAnswer } from '../../../agent/plugins/client.ts';
import { parseSpec } from '../../../agent/plugins/discover.ts';
import { CreateEndpoint, deviceOf, Join } from '../../../agent/plugins/protocol.ts';
import { parseCidr, parseIfName } from '../../../dataplane/values.ts';
import type { Target } from '../engine.ts';
import { byteInputs, jsonInputs, takenIf } from '../inputs.ts';

const joins = [
  { InterfaceName: { SrcName: 'oc35b27a1', DstPrefix: 'eth' }, Gateway: '10.77.0.1' },
  {
    InterfaceName: { SrcName: 'veth7', DstPrefix: 'mesh' },
    StaticRoutes: [{ Destination: '10.1.0.0/16', RouteType: 1 }],
  },
];
const specs = ['unix:///run/docker/plugins/mesh.sock\n', '{"Name":"mesh","Addr":"tcp://127.0.0.1:8080"}'];

/** What network drivers of others answer, and the files that say where they are. */
export const pluginTargets = (): Target[] => [
  {
    name: 'plugin answers',
    weight: 2,
    ...jsonInputs(joins),
    take: (text: string) => {
      try {
        const joined = readAnswer('Join', { status: 200, text }, Join);
        const device = deviceOf(CreateEndpoint.parse({}), joined);
        if (!device.ok || device.value === null) return takenIf(false);
        const { source, onLink } = device.value.device;
        assert.ok(parseIfName(source).ok && onLink.every((prefix) => parseCidr(prefix).ok));
        return takenIf(true);
      } catch (error) {
        if (error instanceof PluginError) return takenIf(false);
        throw error;
      }
    },
  },
  {
    name: 'plugin specs',
    weight: 1,
    ...byteInputs(specs.map((text) => Buffer.from(text))),
    take: (bytes: Uint8Array) => {
      const text = Buffer.from(bytes).toString('utf8');
      return takenIf(parseSpec(text, text.startsWith('{')).ok);
    },
  },
];
