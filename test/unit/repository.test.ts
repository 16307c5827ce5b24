import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { test } from 'node:test';

// The layout is the architecture (ARCHITECTURE.md); these rules keep it so.

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.ts'], { encoding: 'utf8' })
  .split('\n')
  .filter((file) => /^(agent|controlplane|dataplane)\//.test(file));

/** Specifiers of static and dynamic imports and of re-exports. */
function importsOf(file: string): string[] {
  const source = readFileSync(file, 'utf8');
  return [...source.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] ?? '');
}

const planeOf = (file: string): string => file.split('/')[0] ?? '';

/** Files that import a package whose name matches. */
const importersOf = (name: RegExp): string[] => files.filter((file) => importsOf(file).some((each) => name.test(each)));

test('there is something to check', () => {
  for (const plane of ['agent', 'controlplane', 'dataplane']) assert.ok(files.some((file) => planeOf(file) === plane));
  assert.ok(importsOf('agent/plan.ts').includes('../dataplane/values.ts'));
});

test('the planes import neither each other nor the agent', () => {
  for (const file of files) {
    for (const specifier of importsOf(file).filter((each) => each.startsWith('.'))) {
      const target = planeOf(normalize(join(dirname(file), specifier)));
      const allowed = planeOf(file) === 'agent' ? ['agent', 'controlplane', 'dataplane'] : [planeOf(file)];
      assert.ok(allowed.includes(target), `${file} imports ${specifier}`);
    }
  }
});

test('libp2p is imported by the mesh only', () => {
  const mesh = ['libp2p', 'membership', 'muxer', 'pings', 'protector'].map((name) => `controlplane/mesh/${name}.ts`);
  assert.deepEqual(importersOf(/^(libp2p|@libp2p\/|@chainsafe\/|@multiformats\/)/), mesh);
});

test('one file opens netlink sockets, one raw sockets, one runs ip and nft, one opens the store', () => {
  assert.deepEqual(importersOf(/^koffi$/), [
    'agent/daemon/libc.ts',
    'dataplane/path/udp-socket.ts',
    'dataplane/rtnetlink/libc.ts',
    'dataplane/selftest/offload.ts',
    'dataplane/selftest/tcp.ts',
  ]);
  // The command line runs what the user asks for in a sandbox.
  assert.deepEqual(importersOf(/child_process$|^execa$/), [
    'agent/cli/commands/sandbox-exec.ts',
    'dataplane/apply/run.ts',
  ]);
  assert.deepEqual(importersOf(/^raw-socket$/), ['dataplane/path/raw.ts']);
  assert.deepEqual(importersOf(/^lmdb$/), ['controlplane/store.ts']);
});

test('the wall clock is read where a moment is meant, never for how long something takes: it jumps', () => {
  // To be shown, compared with what others wrote, or with the dates of certificates and tokens; for epochs and stamps.
  const readers = [
    'environment',
    ...['join-client', 'limited-tokens'].map((name) => `identity/${name}`),
    'joining',
    ...['issuer', 'keys', 'renewal', 'roots'].map((name) => `keys/${name}`),
    'liveness/liveness',
    ...['membership', 'networks', 'parts', 'reception'],
    ...['members', 'own', 'propagation', 'replica'].map((name) => `tables/${name}`),
  ];
  const found = files.filter((file) => /\.now\(\)/.test(readFileSync(file, 'utf8')));
  assert.deepEqual(
    found.filter((file) => planeOf(file) === 'controlplane'),
    readers.map((name) => `controlplane/${name}.ts`),
  );
});

test('no shell is ever asked to run anything', () => {
  for (const file of files) assert.doesNotMatch(readFileSync(file, 'utf8'), /\bshell: true|\bexecSync\(|[^.]\bexec\(/);
});

test('the lock file names no registry, and packages for every platform', () => {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
    packages: { [path: string]: { resolved?: string; optionalDependencies?: { [name: string]: string } } };
  };
  for (const [path, entry] of Object.entries(packages)) {
    assert.equal(entry.resolved, undefined, path);
    // npm leaves out those that its registry lacks, and `npm ci` then fails elsewhere.
    for (const name of Object.keys(entry.optionalDependencies ?? {})) {
      assert.ok(packages[`node_modules/${name}`] ?? packages[`${path}/node_modules/${name}`], `${path} lacks ${name}`);
    }
  }
});

test('dependencies have exact versions, and each a reason in the README', () => {
  const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as { [key: string]: { [name: string]: string } };
  const readme = readFileSync('README.md', 'utf8');
  for (const [name, version] of Object.entries({ ...manifest['dependencies'], ...manifest['devDependencies'] })) {
    assert.match(version, /^(npm:@libp2p\/gossipsub@)?\d+\.\d+\.\d+$/, name);
    assert.ok(readme.includes(`| \`${name}\``), `README.md does not say why ${name} is there`);
  }
});
