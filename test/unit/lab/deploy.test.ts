import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseCall } from '../../../agent/cni/request.ts';
import { loadConfig } from '../../../agent/daemon/config.ts';

const deploy = fileURLToPath(new URL('../../../deploy', import.meta.url));
const unit = readFileSync(join(deploy, 'weft.service'), 'utf8');
const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0;

describe('weft.service', () => {
  it('is understood by systemd to the last line', { skip: hasSystemd ? false : 'no systemd-analyze here' }, () => {
    const directory = mkdtempSync(join(tmpdir(), 'weft-unit-'));
    try {
      const path = join(directory, 'weft.service');
      // The program is not installed where tests run.
      writeFileSync(path, unit.replace(/^(ExecStart|ExecReload)=\S+/gm, '$1=/bin/true'));
      // It exits with 0 on an unknown key, and tells of it on stderr.
      const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', path], { encoding: 'utf8' });
      assert.deepEqual([stderr, status], ['', 0]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('gives the agent no mount namespace of its own', () => {
    // systemd 252, exec_needs_mount_namespace(): any of these makes one.
    const makesOne =
      /^(Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Proc)|Private(Tmp|Devices|Mounts|IPC)|Read(Write|Only)Paths|InaccessiblePaths|ExecPaths|NoExecPaths|Bind(ReadOnly)?Paths|TemporaryFileSystem|MountAPIVFS|MountFlags|ProcSubset|Root(Directory|Image)|DynamicUser|LogNamespace)=/m;
    assert.equal(makesOne.exec(unit)?.[0], undefined);
  });
});

describe('deploy scripts', () => {
  for (const [script, args, exitCode] of [
    ['quickstart', ['--help'], 0],
    ['quickstart', ['--nonsense'], 2],
    ['install', ['--help'], 0],
    ['install', ['--nonsense'], 2],
  ] as const) {
    it(`${script} ${args.join(' ')} exits with ${exitCode}`, () => {
      const { status, stdout, stderr } = spawnSync(join(deploy, script), args, { encoding: 'utf8' });
      assert.equal(status, exitCode, stderr);
      if (exitCode === 0) assert.match(stdout, /^Usage: deploy\//);
      else assert.match(stderr, /unknown argument --nonsense; see deploy\//);
    });
  }
});

describe('cni/10-weft.conflist', () => {
  it('is a list of one plugin, which takes what a runtime makes of it', () => {
    const { plugins, ...list } = JSON.parse(readFileSync(join(deploy, 'cni/10-weft.conflist'), 'utf8')) as {
      plugins: { type: string; capabilities: object }[];
    };
    const [plugin] = plugins;
    assert.deepEqual([plugins.length, plugin?.type], [1, 'weft']);
    // As libcni hands it on: name and version of the list, and no capabilities.
    const { capabilities: _, ...config } = { ...list, ...plugin };
    const env = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c', CNI_IFNAME: 'eth0', CNI_NETNS: '/run/netns/c' };
    const call = parseCall(env, JSON.stringify(config));
    assert.deepEqual(call.command === 'ADD' && [call.network, call.version], ['frontend', '1.0.0']);
  });
});

describe('agent.example.yaml', () => {
  const text = readFileSync(join(deploy, 'agent.example.yaml'), 'utf8');
  const shown = text.replaceAll(/^# (?=[a-z-]+: )/gm, '');
  const directory = mkdtempSync(join(tmpdir(), 'weft-config-'));
  after(() => rmSync(directory, { recursive: true }));
  const load = (name: string, yaml: string) => {
    const config = join(directory, name);
    writeFileSync(config, yaml);
    return loadConfig({ config }, {});
  };

  it('is a config file that changes nothing', () => {
    assert.deepEqual(load('as-it-is.yaml', text), load('empty.yaml', ''));
  });

  it('shows every key with its default', () => {
    const known = loadConfig({}, {});
    const all = load('shown.yaml', shown);
    // These have no fixed default.
    const { hostname, listenHost, gatewaySubnet, advertiseAddr, dataPathAddr } = known;
    assert.deepEqual({ ...all, hostname, listenHost, gatewaySubnet, advertiseAddr, dataPathAddr }, known);
    let complaint = '';
    try {
      load('wrong.yaml', 'nonsense: 1\n');
    } catch (error) {
      complaint = String(error);
    }
    const keys = /the keys are (.*)$/.exec(complaint)?.[1]?.split(', ') ?? [];
    assert.ok(keys.length > 5, complaint);
    const missing = keys.filter((key) => !new RegExp(`^${key}: `, 'm').test(shown));
    assert.deepEqual(missing, []);
  });
});
