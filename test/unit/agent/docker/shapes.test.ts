import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DockerError, isNotFound } from '../../../../agent/docker/errors.ts';
import { EventLines, readEvent } from '../../../../agent/docker/events.ts';
import { Container, Info, ListedContainers, Networks, readReply, Version } from '../../../../agent/docker/shapes.ts';
import { chooseVersion } from '../../../../agent/docker/version.ts';

const answer = (body: unknown, status = 200) => ({ status, body: JSON.stringify(body) });

test('a network reads the same whether Docker leaves out, writes null, or writes nothing in quotes', () => {
  const sparse = { Id: 'n1', Name: 'web', Driver: 'weft' };
  const nulls = {
    ...sparse,
    Scope: '',
    EnableIPv6: false,
    IPAM: { Driver: '', Options: null, Config: null },
    Options: null,
    Labels: null,
    Containers: null,
  };
  const [a, b] = readReply('list', answer([sparse, nulls]), Networks);
  assert.deepEqual(a, b);
  assert.deepEqual(
    [a?.id, a?.name, a?.driver, a?.ipam.pools, a?.labels.size, a?.containers.size],
    ['n1', 'web', 'weft', [], 0, 0],
  );
});

test('a name of others is never taken for what an object has anyway', () => {
  const labels = '{"__proto__":"a","constructor":"b"}';
  const containers = '{"__proto__":{"Name":"a"},"toString":{"Name":"b"}}';
  const body = `[{"Id":"n1","Name":"web","Labels":${labels},"Containers":${containers}}]`;
  const [network] = readReply('list', { status: 200, body }, Networks);
  assert.deepEqual([...(network?.labels ?? [])].flat(), ['__proto__', 'a', 'constructor', 'b']);
  assert.deepEqual([...(network?.containers.keys() ?? [])], ['__proto__', 'toString']);
  assert.equal(network?.containers.get('valueOf'), undefined);
});

test('a container has the name that is its own, not one that a link gave it', () => {
  const listed = { Id: 'c1', Names: ['/other/db', '/web'], State: 'running' };
  const [container] = readReply('list', answer([listed]), ListedContainers);
  assert.equal(container?.name, 'web');
  const inspected = {
    Id: 'c1',
    Name: '/web',
    Config: { Hostname: 'c1', Domainname: '', Labels: null },
    State: { Status: 'running', Running: true, Pid: 7 },
    NetworkSettings: {
      SandboxID: 's',
      SandboxKey: '/var/run/docker/netns/s',
      Networks: { red: { NetworkID: 'n1', EndpointID: 'e1', IPAddress: '10.0.1.2', IPPrefixLen: 24, Aliases: ['db'] } },
    },
  };
  const one = readReply('inspect', answer(inspected), Container);
  assert.deepEqual([one.name, one.health, one.networks.get('red')?.aliases], ['web', 'none', ['db']]);
  assert.deepEqual(one.networks.get('red')?.dnsNames, []);
});

test('what Docker refuses is told in its own words, up to a length', () => {
  const refused = (body: string, status: number): DockerError => {
    try {
      readReply('remove network web', { status, body }, Info);
    } catch (error) {
      if (error instanceof DockerError) return error;
      throw error;
    }
    throw new Error('it was taken');
  };
  const missing = refused('{"message":"network web not found"}\n', 404);
  assert.deepEqual(
    [missing.code, missing.status, missing.message],
    ['refused', 404, 'remove network web: network web not found'],
  );
  assert.equal(isNotFound(missing), true);
  assert.equal(isNotFound(refused('{"message":"in use"}', 403)), false);
  assert.equal(refused('', 500).message, 'remove network web: HTTP 500');
  assert.equal(refused('404 page not found', 404).message, 'remove network web: 404 page not found');
  assert.equal(refused(`{"message":"${'x'.repeat(5000)}"}`, 500).message.length, 'remove network web: '.length + 1024);
});

test('what is no answer of Docker is refused with the place that is wrong', () => {
  const reads = (body: string, pattern: RegExp): void =>
    assert.throws(
      () => readReply('list', { status: 200, body }, Networks),
      (error: unknown) => error instanceof DockerError && error.code === 'bad_reply' && pattern.test(error.message),
    );
  reads('<html>', /^list: not an answer of Docker's API: /);
  reads('{}', /not an answer/);
  reads('[{"Id":"n1"}]', /: 0\.Name: /);
  reads('[{"Id":"n1","Name":"a","Containers":["a"]}]', /: 0\.Containers: want an object/);
  reads('[{"Id":"n1","Name":"a","Labels":{"a":7}}]', /: 0\.Labels\.a: /);
});

test('the API version is ours where Docker speaks it, else the nearest that it does', () => {
  const of = (apiVersion: string, minApiVersion = '1.12'): string => chooseVersion({ apiVersion, minApiVersion });
  assert.deepEqual(
    [of('1.41'), of('1.44', '1.24'), of('1.52', '1.44'), of('1.99', '1.50')],
    ['1.41', '1.44', '1.44', '1.50'],
  );
  assert.equal(of('1.43', ''), '1.43');
  assert.throws(() => of('1.40'), /speaks API 1\.40; 1\.41 is needed: update it to 20\.10 or later/);
  for (const bad of ['', '1', '1.44/../..', '1.44.1', 'x'.repeat(1000)]) {
    assert.throws(() => of(bad), /not an API version of Docker/);
  }
  assert.throws(() => of('1.44', '../1'), /not an API version of Docker/);
  assert.equal(Version.parse({ ApiVersion: '1.41' }).minApiVersion, '');
});

const start = {
  status: 'start',
  id: 'c1',
  from: 'lab',
  Type: 'container',
  Action: 'start',
  Actor: { ID: 'c1', Attributes: { image: 'lab', name: 'web' } },
  scope: 'local',
  time: 1_700_000_000,
  timeNano: 1_700_000_000_123_456_800,
};

test('events come out the same however the stream is cut', () => {
  const text = `${JSON.stringify(start)}\n\r\n${JSON.stringify({ ...start, Action: 'health_status: é' })}\n{"half`;
  const bytes = Buffer.from(text);
  const whole = new EventLines().push(bytes);
  assert.deepEqual(
    whole.map(
      (event) => event.type === 'unreadable' || [event.type, event.action, event.id, event.attributes.get('name')],
    ),
    [
      ['container', 'start', 'c1', 'web'],
      ['container', 'health_status: é', 'c1', 'web'],
    ],
  );
  assert.equal(whole[0]?.type === 'container' && Math.floor(whole[0].atMs), 1_700_000_000_123);
  for (let size = 1; size < bytes.length; size += 1) {
    const lines = new EventLines();
    const cut: unknown[] = [];
    for (let at = 0; at < bytes.length; at += size) cut.push(...lines.push(bytes.subarray(at, at + size)));
    assert.deepEqual(cut, whole);
  }
});

test('a line that is no event, or longer than one may be, is told as one that nobody can read; the next is read', () => {
  const lines = new EventLines(512);
  const said = `${'x'.repeat(400)}${'y'.repeat(400)}`;
  assert.deepEqual(lines.push(Buffer.from(said)), []);
  assert.deepEqual(lines.push(Buffer.from('z'.repeat(5000))), []);
  const [long, after, ...more] = lines.push(Buffer.from(`\n${JSON.stringify(start)}\n`));
  assert.deepEqual(long, { type: 'unreadable', reason: 'a line longer than 512 bytes' });
  assert.equal(after?.type, 'container');
  assert.deepEqual(more, []);
  assert.deepEqual(readEvent('{'), { type: 'unreadable', reason: 'not JSON' });
  assert.equal(readEvent('{"Type":"container"}').type, 'unreadable');
});
