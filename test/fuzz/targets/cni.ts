import assert from 'node:assert/strict';
import { CniError } from '../../../agent/cni/failure.ts';
import { parseCall } from '../../../agent/cni/request.ts';
import type { Target } from '../engine.ts';
import { bytesOf, jsonTextOf, takenIf } from '../inputs.ts';
import { jsonOf } from '../mutate.ts';

const config = { cniVersion: '1.1.0', name: 'frontend', type: 'weft' };
const full = {
  ...{ ...config, network: 'blue', socket: '/run/weft/weft.sock', dns: { nameservers: ['192.0.2.53'] } },
  args: { cni: { ips: ['10.0.1.7'] } },
  runtimeConfig: {
    ...{ ips: ['10.0.1.7/24', 'fd00::7'], mac: '02:00:00:00:00:07', aliases: { frontend: ['www'] } },
    portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '127.0.0.1' }],
  },
};
const prevResult = {
  interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:07', sandbox: '/run/netns/x' }],
  ips: [{ interface: 0, address: '10.0.1.7/24' }],
};
const args = 'IgnoreUnknown=1;K8S_POD_NAME=web;IP=10.0.1.7;MAC=02:00:00:00:00:07';
type Input = [command: string, id: string, ifName: string, netns: string, args: string, stdin: string];
const at = ['c1', 'eth0', '/run/netns/x', args] as const;
const bodies = { ADD: full, DEL: config, CHECK: { ...config, prevResult }, STATUS: config, VERSION: config };
const calls: { [command: string]: object } = {
  ...bodies,
  GC: { ...config, 'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }] },
};

/** What a container runtime puts into the environment and on stdin. */
export const cniTargets = (): Target[] => [
  {
    name: 'CNI call',
    weight: 6,
    valid: Object.entries(calls).map(([command, body]): Input => [command, ...at, jsonOf(body)]),
    make: (random): Input => {
      const text = (valid: string): string =>
        random.chance(0.8) ? valid : Buffer.from(bytesOf(random, [Buffer.from(valid)])).toString('latin1');
      const [command = 'ADD', body = full] = random.pick(Object.entries(calls)) ?? [];
      const [id, ifName, netns, more] = at;
      return [text(command), text(id), text(ifName), text(netns), text(more), jsonTextOf(random, [body])];
    },
    take: ([command, id, ifName, netns, more, stdin]: Input) => {
      const named = { CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_IFNAME: ifName, CNI_NETNS: netns, CNI_ARGS: more };
      try {
        const call = parseCall(named, stdin);
        if ('containerId' in call) assert.match(`${call.containerId} ${call.ifName}`, /^[\w.-]{1,255} [\w.-]{1,15}$/);
        if ('wanted' in call) for (const port of call.wanted.publish) assert.ok(port.length <= 128, port);
        return takenIf(true);
      } catch (error) {
        assert.ok(error instanceof CniError, String(error));
        return takenIf(false);
      }
    },
  },
];
