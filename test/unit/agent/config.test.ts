import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { ConfigError, loadConfig } from '../../../agent/daemon/config.ts';

const folder = mkdtempSync(join(tmpdir(), 'weft-config-'));
after(() => rmSync(folder, { recursive: true }));

function file(text: string): string {
  const path = join(folder, 'agent.yaml');
  writeFileSync(path, text);
  return path;
}

const refusal = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.message;
  }
  assert.fail('it was taken');
};

test('without anything the defaults hold', () => {
  const config = loadConfig({ config: file('') }, {});
  assert.equal(config.socket, '/run/weft/weft.sock');
  assert.deepEqual([config.gossipPort, config.joinPort, config.gatewaySubnet], [7946, 2377, null]);
  assert.equal(config.drift, 'repair');
});

test('a flag beats the environment, and that beats the file', () => {
  const config = file('gossip-port: 1001\njoin-port: 1002\nlog-level: debug\n');
  const environment = { WEFT_GOSSIP_PORT: '2001', WEFT_JOIN_PORT: '2002', WEFT_HOST: '/elsewhere', PATH: '/bin' };
  const loaded = loadConfig({ config, gossipPort: 3001 }, environment);
  assert.deepEqual([loaded.gossipPort, loaded.joinPort, loaded.logLevel], [3001, 2002, 'debug']);
});

test('the socket follows the run directory', () => {
  assert.equal(loadConfig({ config: file('run-dir: /run/other') }, {}).socket, '/run/other/weft.sock');
});

test('an unknown key is named as it was written, with its source and the keys there are', () => {
  const message = refusal(() => loadConfig({ config: file('gosip-port: 7946') }, {}));
  assert.match(message, /agent\.yaml: unknown key gosip-port; the keys are .*gossip-port/);
  assert.match(
    refusal(() => loadConfig({ config: file('') }, { WEFT_GOSIP_PORT: '1' })),
    /environment: unknown key WEFT_GOSIP_PORT/,
  );
});

test('a value that does not fit is named with its key', () => {
  assert.match(
    refusal(() => loadConfig({ config: file('gossip-port: 70000') }, {})),
    /agent\.yaml: gossip-port: /,
  );
  assert.match(
    refusal(() => loadConfig({ config: file('') }, { WEFT_LOG_LEVEL: 'loud' })),
    /environment: WEFT_LOG_LEVEL: /,
  );
  assert.match(
    refusal(() => loadConfig({ config: file(''), stateDir: 'here' }, {})),
    /command line: --state-dir: want an absolute path/,
  );
});

test('a file that is no YAML, no mapping, or not there', () => {
  assert.match(
    refusal(() => loadConfig({ config: file('a: [') }, {})),
    /is not YAML/,
  );
  assert.match(
    refusal(() => loadConfig({ config: file('- a list') }, {})),
    /agent\.yaml: the whole: /,
  );
  assert.match(
    refusal(() => loadConfig({ config: join(folder, 'none') }, {})),
    /cannot read config file .*none/,
  );
});

test('the example says only what is true: every line of it, uncommented, is a key that is known', () => {
  const example = new URL('../../../deploy/agent.example.yaml', import.meta.url).pathname;
  assert.ok(loadConfig({ config: example }, {}));
});

test('addresses are taken with a port and without, and no names', () => {
  const config = file('advertise-addr: 192.0.2.7:8000\ndata-path-addr: fd00::7\n');
  const { advertiseAddr, dataPathAddr } = loadConfig({ config }, {});
  assert.deepEqual([advertiseAddr, dataPathAddr], ['192.0.2.7:8000', 'fd00::7']);
  assert.equal(loadConfig({ config, advertiseAddr: '192.0.2.8' }, {}).advertiseAddr, '192.0.2.8');
  for (const text of ['advertise-addr: host1', 'advertise-addr: 192.0.2.7:0', 'data-path-addr: 192.0.2.7:8000']) {
    assert.match(
      refusal(() => loadConfig({ config: file(text) }, {})),
      /addr: want (an )?IP/,
    );
  }
});

test('what sandboxes are told of nameservers is a list of each, from the file, the environment and flags', () => {
  const config = file('dns: [192.0.2.53, 2001:DB8:0::53]\ndns-search: [corp.example]\ndns-opts: ["ndots:2"]\n');
  assert.deepEqual(loadConfig({ config }, {}).resolver, {
    servers: ['192.0.2.53', '2001:db8::53'],
    search: ['corp.example'],
    options: ['ndots:2'],
  });
  const environment = { WEFT_DNS: '192.0.2.54,192.0.2.55', WEFT_DNS_SEARCH: '.' };
  assert.deepEqual(loadConfig({ config, dns: ['192.0.2.56'], dnsOpts: ['rotate'] }, environment).resolver, {
    servers: ['192.0.2.56'],
    search: ['.'],
    options: ['rotate'],
  });
  assert.deepEqual(loadConfig({ config: file('') }, {}).resolver, { servers: [], search: [], options: [] });
  for (const [text, message] of [
    ['dns: 192.0.2.53', /agent\.yaml: dns: want a list/],
    ['dns: [host1]', /agent\.yaml: dns: "host1" is not an IP address/],
    ['dns: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4]', /dns: 4 are given, and there can be at most 3 nameservers/],
    ['dns-search: [a b]', /dns-search: "a b" is not a domain/],
    ['dns-opts: [7]', /agent\.yaml: dns-opts/],
  ] as const) {
    assert.match(
      refusal(() => loadConfig({ config: file(text) }, {})),
      message,
    );
  }
});
