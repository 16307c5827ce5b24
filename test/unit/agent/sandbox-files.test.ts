import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { SandboxFiles } from '../../../agent/daemon/sandboxes/sandbox-files.ts';
import { mark } from '../../../agent/files/render.ts';
import { emptyResolver } from '../../../agent/files/resolv-conf.ts';
import type { StoredLeg, StoredSandbox } from '../../../agent/sandbox-state.ts';
import { must, parseIp } from '../../../dataplane/values.ts';
import { quietLog } from '../controlplane/helpers.ts';

const folder = mkdtempSync(join(tmpdir(), 'weft-files-'));
after(() => rmSync(folder, { recursive: true }));
const roots = { owned: join(folder, 'netns'), adopted: join(folder, 'run') };
beforeEach(() => {
  for (const root of Object.values(roots)) rmSync(root, { recursive: true, force: true });
});

const id = 'abcdef012345'.padEnd(64, '6');
const legs = [
  { ip: '10.0.1.9', ip6: 'fd00::9' },
  { ip: null, ip6: 'fd00:1::9' },
] as unknown as StoredLeg[];
const web: StoredSandbox = {
  ...{ id, name: 'web', createdMs: 1, netns: '/run/netns/weft-abcdef012345', adopted: false, inode: null, labels: {} },
  ...{ hostname: null, resolver: emptyResolver, legs, gateway: null, local: [], published: [] },
};
const directory = join(roots.owned, 'weft-abcdef012345');
const read = (name: string, from = directory): string => readFileSync(join(from, name), 'utf8');

function makeFiles(defaults = emptyResolver as StoredSandbox['resolver'], own: string | null = null): SandboxFiles {
  const files = new SandboxFiles({ roots, defaults, own: () => own, log: quietLog });
  files.host = { resolver: { servers: ['192.0.2.1'], search: ['host.example'], options: [] }, unusable: [] };
  return files;
}

test('a sandbox has its three files where ip netns exec looks, for all to read', () => {
  const umask = process.umask(0o077);
  try {
    makeFiles({ ...emptyResolver, options: ['rotate'] }).make({ ...web, hostname: 'www.corp.example' });
  } finally {
    process.umask(umask);
  }
  assert.equal(read('hostname'), 'www.corp.example\n');
  assert.equal(
    read('hosts'),
    `${mark}
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
10.0.1.9\twww.corp.example www web
fd00::9\twww.corp.example www web
fd00:1::9\twww.corp.example www web
`,
  );
  assert.equal(read('resolv.conf'), `${mark}\nnameserver 192.0.2.1\nsearch host.example\noptions rotate\n`);
  for (const path of [roots.owned, directory]) assert.equal(statSync(path).mode & 0o777, 0o755);
  for (const name of ['hosts', 'hostname', 'resolv.conf'])
    assert.equal(statSync(join(directory, name)).mode & 0o777, 0o644);
});

test("with a leg on docker_gwbridge its nameserver is the agent's, unless it was given one", () => {
  const gateway = { ip: '172.18.0.2' } as StoredSandbox['gateway'];
  const files = makeFiles({ ...emptyResolver, servers: ['192.0.2.9'] }, '172.18.0.1');
  const servers = (sandbox: StoredSandbox): string[] => {
    files.put(sandbox);
    return [...read('resolv.conf').matchAll(/^nameserver (.*)$/gm)].map(([, server = '']) => server);
  };
  assert.deepEqual(servers({ ...web, gateway }), ['172.18.0.1']);
  assert.deepEqual(servers(web), ['192.0.2.9']);
  const given = { ...web, gateway, resolver: { ...emptyResolver, servers: ['192.0.2.7'] } };
  assert.deepEqual(servers(given), ['192.0.2.7']);
  // A stub of the host's is one that the agent asks.
  const stub = makeFiles(emptyResolver, '172.18.0.1');
  stub.host = { resolver: emptyResolver, unusable: [must(parseIp('127.0.0.53'))] };
  assert.deepEqual(stub.warnings(), []);
  const alone = makeFiles();
  alone.host = stub.host;
  assert.match(alone.warnings()[0] ?? '', /names 127\.0\.0\.53, which a sandbox cannot reach/);
});

test('an adopted one has them apart, whatever its namespace is called', () => {
  const files = makeFiles();
  const adopted = { ...web, netns: '/proc/42/ns/net', adopted: true, inode: 42 };
  files.make(adopted);
  assert.equal(files.pathOf(adopted, 'hosts'), join(roots.adopted, 'abcdef012345', 'hosts'));
  assert.equal(read('hostname', join(roots.adopted, 'abcdef012345')), 'web\n');
  files.drop(adopted);
  assert.deepEqual([readdirSync(roots.adopted), existsSync(roots.owned)], [[], false]);
});

test('they follow the sandbox and the host, each as the inode that it was, also in another run of the agent', () => {
  const inodes = () => ['hosts', 'hostname', 'resolv.conf'].map((name) => statSync(join(directory, name)).ino);
  const files = makeFiles();
  files.make(web);
  const before = inodes();
  files.put({ ...web, legs: [] });
  assert.doesNotMatch(read('hosts'), /10\.0/);
  files.host = { resolver: { ...emptyResolver, servers: ['192.0.2.2'] }, unusable: [] };
  files.put(web);
  assert.match(read('hosts'), /^10\.0\.1\.9\tweb$/m);
  assert.equal(read('resolv.conf'), `${mark}\nnameserver 192.0.2.2\n`);
  const again = makeFiles();
  again.sweep([web]);
  again.put(web);
  assert.match(read('resolv.conf'), /192\.0\.2\.1/);
  assert.deepEqual(inodes(), before);
  files.drop(web);
  assert.deepEqual(readdirSync(roots.owned), []);
});

test("a directory that is somebody else's is refused, or named, and left alone", () => {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'resolv.conf'), 'nameserver 192.0.2.99\n');
  const files = makeFiles();
  assert.throws(() => files.make(web), { code: 'files_taken', status: 409, hint: /move it away/ });
  files.put(web);
  assert.match(files.warnings().join(), /files of sandbox web: .* was made by somebody else and is left alone/);
  files.drop(web);
  files.sweep([]);
  assert.equal(read('resolv.conf'), 'nameserver 192.0.2.99\n');
  assert.deepEqual([files.warnings(), readdirSync(directory)], [[], ['resolv.conf']]);
  writeFileSync(join(directory, 'hosts'), '127.0.0.1 localhost\n');
  assert.throws(() => files.make(web), { code: 'files_taken' });
});

test('a warning ends with its cause; what cannot be made is said', () => {
  writeFileSync(roots.owned, 'no directory');
  const files = makeFiles();
  assert.throws(() => files.make(web), { code: 'files_failed', status: 500, message: /files of sandbox web: ENOTDIR/ });
  files.put(web);
  assert.equal(files.warnings().length, 1);
  rmSync(roots.owned);
  files.put(web);
  assert.deepEqual(files.warnings(), []);
});

test('only what is ours of no sandbox is swept away, and files of others in it stay', () => {
  const files = makeFiles();
  const gone = { ...web, id: id.replace('a', 'b'), netns: '/run/netns/weft-bbcdef012345' };
  const kept = { ...web, id: id.replace('a', 'c'), netns: '/run/netns/weft-cbcdef012345' };
  for (const each of [web, gone, kept, { ...gone, adopted: true }]) files.make(each);
  writeFileSync(join(roots.owned, 'weft-cbcdef012345', 'nsswitch.conf'), 'hosts: files dns\n');
  mkdirSync(join(roots.owned, 'blue'));
  // As a crash leaves it between the first file and its text.
  mkdirSync(join(roots.owned, 'weft-dbcdef012345'));
  writeFileSync(join(roots.owned, 'weft-dbcdef012345', 'hosts'), '');
  files.sweep([web]);
  assert.deepEqual(readdirSync(roots.owned).sort(), ['blue', 'weft-abcdef012345', 'weft-cbcdef012345']);
  assert.deepEqual(readdirSync(join(roots.owned, 'weft-cbcdef012345')), ['nsswitch.conf']);
  assert.deepEqual(readdirSync(roots.adopted), []);
});
