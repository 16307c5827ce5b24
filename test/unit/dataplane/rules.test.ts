import assert from 'node:assert/strict';
import { test } from 'node:test';
import { digestOfListing, rulesFor } from '../../../dataplane/rules.ts';
import { must, parseCidr, parseIfName } from '../../../dataplane/values.ts';

const input = {
  bridge: must(parseIfName('docker_gwbridge')),
  address: must(parseCidr('172.18.0.1/16')),
  bridgeIsOurs: true,
  guardForwarding: true,
};
const listing = (...comments: (string | undefined)[]): string =>
  JSON.stringify({
    nftables: [{ metainfo: {} }, { table: {} }, ...comments.map((comment) => ({ rule: { comment } }))],
  });

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
  assert.equal(digestOfListing(listing(mark, mark)), '0123456789abcdef');
  for (const altered of [
    listing(),
    listing(mark),
    listing(mark, mark, mark),
    listing(mark, undefined),
    listing('other', mark),
    '{',
  ]) {
    assert.equal(digestOfListing(altered), 'altered');
  }
});
