import assert from 'node:assert/strict';
import { test } from 'node:test';
import { guardFor } from '../../../dataplane/guard.ts';
import { rulesFor } from '../../../dataplane/rules.ts';
import { digestOfComments, elementBytes, elementText } from '../../../dataplane/tables.ts';
import { must, parseCidr, parseIfName, parseIp, parseVni } from '../../../dataplane/values.ts';

const input = {
  bridge: must(parseIfName('docker_gwbridge')),
  address: must(parseCidr('172.18.0.1/16')),
  bridgeIsOurs: true,
  guardForwarding: true,
};
test('the table is replaced in one transaction', () => {
  const { digest, script } = rulesFor(input);
  const mark = `comment "weft ${digest} 7"`;
  assert.equal(
    script,
    `add table inet weft
delete table inet weft
table inet weft {
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr 172.18.0.1/16 oifname != "docker_gwbridge" masquerade ${mark}
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    oifname "docker_gwbridge" ct state established,related accept ${mark}
    iifname "docker_gwbridge" oifname "docker_gwbridge" drop ${mark}
    oifname "docker_gwbridge" drop ${mark}
    meta iifkind { "bridge", "tun", "wireguard" } return ${mark}
    meta oifkind { "bridge", "tun", "wireguard" } return ${mark}
    drop ${mark}
  }
}
`,
  );
});

test('an adopted bridge is guarded by who made it', () => {
  assert.doesNotMatch(rulesFor({ ...input, bridgeIsOurs: false, guardForwarding: false }).script, /forward/);
});

test('the digest follows the content', () => {
  assert.equal(rulesFor(input).digest, rulesFor({ ...input }).digest);
  assert.notEqual(rulesFor(input).digest, rulesFor({ ...input, guardForwarding: false }).digest);
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
  assert.match(script, /udp dport 4789 @th,96,24 @vnis ip6 saddr != @vteps6 drop/);
  assert.equal(guardFor({ ...guard, vteps: [], vnis: [] }).digest, digest);
  assert.notEqual(guardFor({ ...guard, port: 4790 }).digest, digest);
});

test('elements are read back as they were written', () => {
  for (const [kind, text] of [
    ['ipv4', '192.0.2.1'],
    ['ipv6', '2001:db8::1'],
    ['vni', '16777215'],
  ] as const) {
    assert.equal(elementText(kind, Buffer.from(elementBytes(kind, text))), text);
    assert.equal(elementText(kind, Buffer.alloc(5)), null);
  }
});
