import assert from 'node:assert/strict';
import { test } from 'node:test';
import { elementBytes, elementText } from '../../../dataplane/nft/elements.ts';
import { guardFor } from '../../../dataplane/nft/guard.ts';
import { type GuardedBridge, type RulesInput, rulesFor } from '../../../dataplane/nft/rules.ts';
import { type DesiredTable, digestOfComments } from '../../../dataplane/nft/tables.ts';
import { type IfName, must, parseIp, parseVni } from '../../../dataplane/values.ts';
import { BRIDGE, GATEWAY } from '../../e2e/dataplane/wanted.ts';

const gateway: GuardedBridge = { ...GATEWAY, isOurs: true, published: [] };
const input: RulesInput = { bridges: [gateway], guardForwarding: true, guardForwarding6: true, links: [] };
const rulesOf = (of: RulesInput): DesiredTable => rulesFor(of) ?? assert.fail();

test('the table is replaced in one transaction', () => {
  const { digest, script } = rulesOf(input);
  const mark = `comment "weft ${digest} 9"`;
  assert.equal(
    script,
    `add table inet weft
delete table inet weft
table inet weft {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 172.18.0.0/16 oifname != "docker_gwbridge" masquerade ${mark}
  }
  chain loopback {
    type filter hook prerouting priority raw; policy accept;
    ip daddr 127.0.0.0/8 iifname { "docker_gwbridge" } drop ${mark}
    ip saddr 127.0.0.0/8 iifname { "docker_gwbridge" } drop ${mark}
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    oifname { "docker_gwbridge" } ct state established,related accept ${mark}
    oifname { "docker_gwbridge" } ct status dnat accept ${mark}
    oifname { "docker_gwbridge" } drop ${mark}
    meta iifkind { "bridge", "tun", "wireguard" } return ${mark}
    meta oifkind { "bridge", "tun", "wireguard" } return ${mark}
    drop ${mark}
  }
}
`,
  );
});

test('published ports lead from the host to their legs, for others and for the host itself', () => {
  const ip = must(parseIp('172.30.0.2'));
  const hostIp = must(parseIp('10.99.0.1'));
  const web = { protocol: 'tcp', hostIp: null, hostPort: 8080, port: 80, ip } as const;
  const bridge: GuardedBridge = { ...BRIDGE, isOurs: true, published: [web, { ...web, hostIp, protocol: 'udp' }, web] };
  const { script } = rulesOf({
    bridges: [gateway, bridge],
    guardForwarding: false,
    guardForwarding6: false,
    links: [],
  });
  const text = script.replace(/ comment "[^"]*"/g, '');
  for (const priority of ['hook prerouting priority dstnat', 'hook output priority -100']) {
    assert.ok(
      text.includes(`    type nat ${priority}; policy accept;
    meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map { 10.99.0.1 . udp . 8080 : 172.30.0.2 . 80 }
    meta nfproto ipv4 fib daddr type local dnat ip to meta l4proto . th dport map { tcp . 8080 : 172.30.0.2 . 80 }
`),
      text,
    );
  }
  assert.ok(
    text.includes(`    ip saddr 172.30.0.0/24 oifname "${BRIDGE.name}" ct status dnat masquerade
    ip saddr 127.0.0.0/8 oifname { "${BRIDGE.name}" } masquerade
`),
    text,
  );
  assert.ok(
    text.includes(`    oifname { "docker_gwbridge", "${BRIDGE.name}" } ct state established,related accept
    oifname { "docker_gwbridge", "${BRIDGE.name}" } ct status dnat accept
    iifname . oifname { "${BRIDGE.name}" . "${BRIDGE.name}" } accept
    oifname { "docker_gwbridge", "${BRIDGE.name}" } drop
`),
    text,
  );
});

test('a leg to the gate has ports of IPv6, those of the loopback, and a way out for answers alone', () => {
  const target = { ip: must(parseIp('fdaa::2')), protocol: 'tcp', hostIp: null, hostPort: 8080, port: 80 } as const;
  const links = [{ name: 'wg1' as IfName, published: [target] }];
  const { script } = rulesOf({ bridges: [gateway], guardForwarding: true, guardForwarding6: false, links });
  const text = script.replace(/ comment ".*"/g, '');
  for (const rule of [
    'meta nfproto ipv6 ip6 daddr != fe80::/10 fib daddr type local dnat ip6 to meta l4proto . th dport map { tcp . 8080 : fdaa::2 . 80 }',
    'ip6 saddr ::1 oifname { "wg1" } masquerade',
    'oifname { "docker_gwbridge", "wg1" } ct state established,related accept',
    'oifname { "docker_gwbridge", "wg1" } ct status dnat accept',
    'oifname { "docker_gwbridge", "wg1" } drop',
    'iifname { "wg1" } return',
    // The owner of this host has it forward IPv6.
    'meta nfproto ipv4 drop',
  ]) {
    assert.ok(text.includes(`    ${rule}\n`), `${rule}\n${text}`);
  }
  assert.doesNotMatch(text, /dnat ip to/);
});

test('an internal bridge has no way in or out', () => {
  const { script } = rulesOf({
    bridges: [{ ...gateway, internal: true }],
    guardForwarding: false,
    guardForwarding6: false,
    links: [],
  });
  assert.match(script, /iifname "docker_gwbridge" oifname != "docker_gwbridge" drop/);
  assert.match(script, /iifname != "docker_gwbridge" oifname "docker_gwbridge" drop/);
  assert.doesNotMatch(script, /masquerade/);
});

test('an adopted bridge is guarded by who made it', () => {
  const { script } = rulesOf({
    bridges: [{ ...gateway, isOurs: false }],
    guardForwarding: false,
    guardForwarding6: false,
    links: [],
  });
  assert.doesNotMatch(script, /forward|loopback/);
});

test('without bridges there is nothing to be in a table', () => {
  assert.equal(rulesFor({ bridges: [], guardForwarding: true, guardForwarding6: true, links: [] }), null);
});

test('the digest follows the content', () => {
  assert.equal(rulesOf(input).digest, rulesOf({ ...input }).digest);
  assert.notEqual(rulesOf(input).digest, rulesOf({ ...input, guardForwarding: false }).digest);
});

test('a listing is whole only if every rule is there and nothing else', () => {
  const mark = 'weft 0123456789abcdef 2';
  assert.equal(digestOfComments([mark, mark]), '0123456789abcdef');
  for (const altered of [[], [mark], [mark, mark, mark], [mark, ''], ['other', mark]]) {
    assert.equal(digestOfComments(altered), 'altered');
  }
});

test('members are elements of sets, so that the rules stay as they are when one comes', () => {
  const [a, b] = [must(parseIp('192.0.2.1')), must(parseIp('2001:db8::1'))];
  const guard = { port: 4789, vteps: [a, b], vnis: [must(parseVni(4097))] };
  const { digest, script } = guardFor(guard);
  assert.match(script, /set vteps4 \{\n {4}type ipv4_addr\n {4}elements = \{ 192\.0\.2\.1 \}\n {2}\}/);
  assert.match(script, /@th,96,24 != @vnis return[^}]*ip6 saddr != @vteps6 drop/);
  assert.equal(guardFor({ ...guard, vteps: [], vnis: [] }).digest, digest);
  assert.notEqual(guardFor({ ...guard, port: 4790 }).digest, digest);
});

test('elements are read back as they were written', () => {
  for (const [kind, text] of [
    ['ipv4', '192.0.2.1'],
    ['ipv6', '2001:db8::1'],
    ['vni', '16777215'],
    ['arp', 'wv0123456789ab 192.0.2.1 02:42:00:00:00:01'],
    ['nd', 'wv0123456789ab 2001:db8::1'],
    ['service', 'tcp 8080 : 2147483681'],
    ['slot', 'sctp 65535 1023 : 192.0.2.1 80'],
    ['turn4', '10.0.0.200 1023 : 192.0.2.1'],
    ['turn6', 'fd00::200 7 : 2001:db8::1'],
    ['goto4', '10.0.0.200 : turn128'],
    ['goto6', 'fd00::200 : none'],
    ['ipv4Mark', '192.0.2.1 : 3221225985'],
    ['macMark', '02:42:00:00:00:01 : 1459617793'],
  ] as const) {
    assert.equal(elementText(kind, elementBytes(kind, text)), text);
    assert.equal(elementText(kind, { key: Buffer.alloc(5), value: null }), null);
  }
});
