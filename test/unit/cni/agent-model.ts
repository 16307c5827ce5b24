import type { Sandbox } from '../../../agent/api/schema.ts';
import type { FakeAgent } from '../cli/fake-agent.ts';
import { replies } from '../cli/replies.ts';

interface Asked {
  readonly Name: string;
  readonly Networks: string[];
  readonly NetnsPath: string;
  readonly Labels: Record<string, string>;
  readonly Interface: string;
  readonly Publish: string[];
}

/** Has the fake agent keep the sandboxes that it is asked for, as the real one does. */
export function keepSandboxes(agent: FakeAgent): Map<string, Sandbox> {
  const sandboxes = new Map<string, Sandbox>();
  const [example] = replies['sandboxList'] as Sandbox[];
  const [endpoint] = example?.Networks ?? [];
  if (example === undefined || endpoint === undefined) throw new Error('no example of a sandbox');
  const refused = (code: string) => ({ status: 404, body: { code, message: code } });
  const refOf = (path: string): string => decodeURIComponent(path.split('/')[3] ?? '');
  const find = (ref: string): Sandbox | undefined =>
    sandboxes.get(ref) ?? [...sandboxes.values()].find(({ ID: id }) => id === ref);
  const leg = (network: string, ifName: string, at: number): Sandbox['Networks'][number] => ({
    ...endpoint,
    ...{ Network: network, NetworkID: network, Interface: ifName, IPv4Address: `10.0.${at}.2/24` },
  });
  agent.answers.set('sandboxList', () => ({ status: 200, body: [...sandboxes.values()] }));
  agent.answers.set('sandboxInspect', ({ path }) => {
    const found = find(refOf(path));
    return found === undefined ? refused('sandbox_not_found') : { status: 200, body: found };
  });
  agent.answers.set('sandboxCreate', ({ body }) => {
    const { Name, Networks, NetnsPath, Labels, Interface, Publish } = body as Asked;
    const ports = Publish.map((text) => /^(\d+):(.*)$/.exec(text) ?? []);
    const sandbox: Sandbox = {
      ...example,
      ...{ ID: `id-${Name}`, Name, NetnsPath, Labels, Adopted: true },
      Networks: [leg(Networks[0] ?? '', Interface, 1)],
      Ports: Object.fromEntries(ports.map(([, host = '', port]) => [port, [{ HostIp: '0.0.0.0', HostPort: host }]])),
    };
    sandboxes.set(Name, sandbox);
    return { status: 200, body: sandbox };
  });
  agent.answers.set('networkConnect', ({ path, body }) => {
    const { Sandbox: ref, Interface: ifName, Labels: labels } = body as Asked & { Sandbox: string };
    const found = find(ref);
    if (found === undefined) return refused('sandbox_not_found');
    const networks = [...found.Networks, leg(refOf(path), ifName, found.Networks.length + 1)];
    sandboxes.set(found.Name, { ...found, Networks: networks, Labels: { ...found.Labels, ...labels } });
    return { status: 200, body: replies['networkConnect'] };
  });
  agent.answers.set('networkDisconnect', ({ path, body }) => {
    const found = find((body as { Sandbox: string }).Sandbox);
    if (found === undefined) return refused('sandbox_not_found');
    const networks = found.Networks.filter(({ NetworkID: id }) => id !== refOf(path));
    sandboxes.set(found.Name, { ...found, Networks: networks });
    return { status: 200, body: {} };
  });
  agent.answers.set('sandboxRemove', ({ path }) => {
    const found = find(refOf(path));
    if (found === undefined) return refused('sandbox_not_found');
    sandboxes.delete(found.Name);
    return { status: 200, body: {} };
  });
  return sandboxes;
}
