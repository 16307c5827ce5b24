import assert from 'node:assert/strict';
import { test } from 'node:test';
import { agentsClampFor, clampFor } from '../../../dataplane/nft/clamp.ts';
import { must, parseIp } from '../../../dataplane/values.ts';
import { overlay } from '../../e2e/dataplane/wanted.ts';

const small = { ...overlay(4098, 'a'), mtu: 1350 };

test('segments are clamped to what a network takes, in both directions and families', () => {
  const { script, digest } = clampFor([overlay(4097, 'a'), small]) ?? assert.fail();
  const mark = `comment "weft ${digest} 6"`;
  assert.equal(
    script,
    `add table bridge weft_mss
delete table bridge weft_mss
table bridge weft_mss {
  chain forward {
    type filter hook forward priority filter; policy accept;
    meta l4proto != tcp return ${mark}
    tcp flags & (fin | syn | rst) != syn return ${mark}
    iifname "wx4098" ether type ip tcp option maxseg size set 1310 ${mark}
    iifname "wx4098" ether type ip6 tcp option maxseg size set 1290 ${mark}
    oifname "wx4098" ether type ip tcp option maxseg size set 1310 ${mark}
    oifname "wx4098" ether type ip6 tcp option maxseg size set 1290 ${mark}
  }
}
`,
  );
});

test('there is no such table where every network takes what Ethernet leaves', () => {
  const vtep = must(parseIp('fd99::1'));
  assert.equal(clampFor([]), null);
  assert.equal(clampFor([overlay(4097, 'a'), { ...small, mtu: 8950 }, { ...small, vtep, mtu: 1430 }]), null);
  assert.notEqual(clampFor([{ ...small, vtep, mtu: 1429 }]), null);
});

test('connections between agents begin with segments that any link takes, whichever end has the table', () => {
  const { script } = agentsClampFor([2377, 7946]) ?? assert.fail();
  for (const hook of ['input', 'output']) assert.match(script, new RegExp(`type filter hook ${hook} priority filter`));
  for (const end of ['dport', 'sport']) {
    const rule = `tcp ${end} { 2377, 7946 } tcp option maxseg size set 1220 `;
    assert.equal(script.split(rule).length, 3, script);
  }
  assert.equal(agentsClampFor([]), null);
});
