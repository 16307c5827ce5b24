import assert from 'node:assert/strict';
import type { Host } from './host.ts';

/** Runs one more sweep and says how many steps it took. */
export const stepsOfSweep = async (host: Host): Promise<number> => {
  const before = await host.stats();
  await host.sweep();
  return (await host.stats()).steps - before.steps;
};
/** Waits until every object of the host is as wanted, five seconds at most. */
export const allOk = async (host: Host): Promise<void> => {
  const deadlineMs = Date.now() + 5000;
  for (;;) {
    const status = await host.status();
    if (Object.values(status).every(({ state }) => state === 'ok')) return;
    assert.ok(Date.now() < deadlineMs, JSON.stringify(status, null, 2));
  }
};

/** A command in a named namespace. */
export const inside = (netns: string, ...command: readonly string[]): string[] => [
  ...['ip', 'netns', 'exec', netns],
  ...command,
];

interface Link {
  readonly stats64: { readonly rx: { readonly packets: number }; readonly tx: { readonly packets: number } };
}

/** What a device has sent and got, by an `ip` command that shows it alone. */
export async function packets(host: Host, ...of: readonly string[]): Promise<Link['stats64']> {
  const [link] = JSON.parse(await host.run('ip', ...of)) as Link[];
  return link?.stats64 ?? assert.fail();
}

/** Packets that the container has got. */
export const received = async (host: Host, netns: string): Promise<number> =>
  (await packets(host, '-n', netns, '-s', '-j', 'link', 'show', 'eth0')).rx.packets;
