import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasChanged, heldBy, isReady, isTelling, namesOf } from '../../../../agent/docker/containers.ts';
import { readEvent } from '../../../../agent/docker/events.ts';
import { Container, ListedContainers } from '../../../../agent/docker/shapes.ts';
import { StoredEndpoint } from '../../../../agent/docker/state.ts';

const labels = (value: string): ReadonlyMap<string, string> => new Map([['weft.dns', value]]);

test('names lead to a container that asks for it only while it is healthy, and to all others always', () => {
  const states = ['none', 'starting', 'healthy', 'unhealthy'];
  const ready = (of: ReadonlyMap<string, string>): string[] =>
    states.filter((health) => isReady({ labels: of, health }));
  assert.deepEqual(ready(labels('healthy')), ['none', 'healthy']);
  assert.deepEqual(ready(labels('always')), states);
  assert.deepEqual(ready(new Map()), states);
});

test('an event of its health tells something of a container that asks for it alone', () => {
  const event = (action: string, value?: string) => {
    const attributes = value === undefined ? { name: 'db' } : { name: 'db', 'weft.dns': value };
    return readEvent(
      JSON.stringify({ Type: 'container', Action: action, Actor: { ID: 'c1', Attributes: attributes }, time: 1 }),
    );
  };
  assert.ok(isTelling(event('health_status: healthy', 'healthy')));
  assert.ok(isTelling(event('health_status: unhealthy', 'healthy')));
  assert.ok(!isTelling(event('health_status: unhealthy')));
  // Each health check is such a program.
  assert.ok(!isTelling(event('exec_start: test -e /ok', 'healthy')));
  assert.ok(isTelling(event('start')));
});

test('a container is asked again when the list says another name or health than it did', () => {
  const listed = (name: string, status: string, value = 'healthy') => {
    const [found] = ListedContainers.parse([
      { Id: 'c1', Names: [`/${name}`], Labels: { 'weft.dns': value }, State: 'running', Status: status },
    ]);
    if (found === undefined) throw new Error('no container');
    return found;
  };
  const asked = { name: 'db', health: 'healthy' };
  assert.ok(hasChanged(listed('db', 'Up 3 seconds (healthy)'), undefined));
  assert.ok(!hasChanged(listed('db', 'Up 3 seconds (healthy)'), asked));
  assert.ok(hasChanged(listed('web', 'Up 3 seconds (healthy)'), asked));
  assert.ok(hasChanged(listed('db', 'Up 3 seconds (unhealthy)'), asked));
  assert.ok(hasChanged(listed('db', 'Up Less than a second (health: starting)'), asked));
  // Nothing is said of health; or nobody asks for it.
  assert.ok(!hasChanged(listed('db', 'Up 3 seconds (Paused)'), asked));
  assert.ok(!hasChanged(listed('db', 'Up 3 seconds'), { name: 'db', health: 'none' }));
  assert.ok(!hasChanged(listed('db', 'Up 3 seconds (unhealthy)', 'always'), asked));
});

test('a row of before containers said so is of one that names lead to', () => {
  const leg = {
    ifName: 'wj1',
    mac: '02:42:0a:00:01:09',
    endpointId: 'e'.repeat(64),
    ip: '10.0.1.9',
    networkId: 'n'.repeat(25),
  };
  const row = { leg: { ...leg, aliases: [], createdMs: 1 }, netns: null, taken: false, name: 'db' };
  const { ready, ports } = StoredEndpoint.parse(row);
  assert.deepEqual([ready, ports], [true, []]);
});

test('a container serves what it publishes and what it or its image says, as much as the tables take', () => {
  const described = (bindings: string[], exposed: string[]) => {
    const none = (ports: string[]) => Object.fromEntries(ports.map((port) => [port, null]));
    const container = Container.parse({
      ...{ Id: 'c1', Name: '/db', Config: { Hostname: 'h', ExposedPorts: none(exposed) } },
      HostConfig: { PortBindings: none(bindings) },
      State: { Status: 'running', Running: true, Pid: 7 },
      NetworkSettings: { SandboxID: 's', SandboxKey: '', Networks: { net: { EndpointID: 'e' } } },
    });
    return namesOf(container).get('e')?.ports;
  };
  assert.deepEqual(described(['80/tcp'], ['53/udp', '80/tcp']), ['80/tcp', '53/udp']);
  assert.deepEqual(described([], ['8000-8010/tcp', '70000/tcp', '0/tcp', '9/dccp']), []);
  const many = Array.from({ length: 40 }, (_, at) => `${at + 1}/tcp`);
  assert.deepEqual(described([], many)?.length, 32);
});

test('a container that has ended has no endpoint, though Docker may list one', () => {
  const states = ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'];
  const listed = ListedContainers.parse(
    states.map((State) => ({
      ...{ Id: `c-${State}`, Names: [`/${State}`], Labels: {}, State, Status: '' },
      NetworkSettings: { Networks: { net: { EndpointID: State }, other: { EndpointID: '' } } },
    })),
  );
  assert.deepEqual([...heldBy(listed)], ['running', 'paused', 'restarting']);
});
