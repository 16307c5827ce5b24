import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { chooseGatewaySubnet, gateAddresses6, gatewayAddressIn, overlaps } from '../../../dataplane/gateway-subnet.ts';
import { type Cidr, must, parseCidr } from '../../../dataplane/values.ts';

const cidrs = (...texts: string[]): Cidr[] => texts.map((text) => must(parseCidr(text)));

test('172.18.0.0/16 unless something on the host is in it', () => {
  assert.equal(chooseGatewaySubnet([]), '172.18.0.0/16');
  assert.equal(chooseGatewaySubnet(cidrs('0.0.0.0/0', '172.17.0.0/16', '10.0.0.0/8', 'fd00::/8')), '172.18.0.0/16');
  assert.equal(chooseGatewaySubnet(cidrs('172.18.5.0/24')), '172.19.0.0/16');
  assert.equal(chooseGatewaySubnet(cidrs('172.18.0.7/32', '172.19.0.1/16')), '172.20.0.0/16');
  assert.equal(chooseGatewaySubnet(cidrs('172.16.0.0/12')), '192.168.0.0/20');
  assert.equal(chooseGatewaySubnet(cidrs('172.16.0.0/12', '192.168.1.0/24')), '192.168.16.0/20');
  assert.equal(chooseGatewaySubnet(cidrs('172.16.0.0/12', '192.168.0.0/16')), null);
});

test('the bridge takes the first address', () => {
  assert.equal(gatewayAddressIn(must(parseCidr('172.18.0.0/16'))), '172.18.0.1/16');
  assert.equal(gatewayAddressIn(must(parseCidr('192.168.16.9/20'))), '192.168.16.1/20');
});

test('the two ends of the leg to the gate', () => {
  const of = (prefix: string) => Object.values(gateAddresses6(must(parseCidr(prefix))));
  assert.deepEqual(of('fdaa:bbcc:dd00::/64'), ['fdaa:bbcc:dd00::1/64', 'fdaa:bbcc:dd00::2/64']);
  assert.deepEqual(of('fd01:203:400:0:7::9/64'), ['fd01:203:400::1/64', 'fd01:203:400::2/64']);
});

test('whatever is in use, the choice overlaps none of it', () => {
  const prefix = fc
    .tuple(
      fc.constantFrom('172.18', '172.19', '172.25', '192.168', '10.1'),
      fc.nat(255),
      fc.integer({ min: 9, max: 32 }),
    )
    .map(([head, third, bits]) => must(parseCidr(`${head}.${third}.1/${bits}`)));
  fc.assert(
    fc.property(fc.array(prefix, { maxLength: 12 }), (inUse) => {
      const chosen = chooseGatewaySubnet(inUse);
      if (chosen) assert.ok(inUse.every((used) => !overlaps(chosen, used)));
    }),
  );
});
