import assert from 'node:assert/strict';
import { test } from 'node:test';
import { driverFor, drivers, predefinedNetworks } from '../../../../agent/drivers/index.ts';
import { parseOptions } from '../../../../agent/drivers/options.ts';

const bridge = driverFor('bridge') ?? assert.fail();

test('every driver has a name of its own, and is found by it', () => {
  assert.equal(new Set(drivers.map(({ name }) => name)).size, drivers.length);
  for (const driver of drivers) assert.equal(driverFor(driver.name), driver);
  assert.equal(driverFor('weft')?.name, 'overlay');
  assert.equal(driverFor('mesh')?.scope, 'local', "somebody's plugin");
  assert.equal(driverFor('../mesh'), null);
  assert.deepEqual(
    predefinedNetworks.map(({ name }) => name),
    ['host', 'none'],
  );
});

test('an option that the driver does not know, or that cannot be so, is refused with the reason', () => {
  const reason = (given: { [key: string]: string }): string => {
    const parsed = parseOptions(bridge, given);
    return parsed.ok ? 'taken' : parsed.reason;
  };
  assert.match(reason({ parent: 'eth0' }), /option parent is not known to driver bridge: the options are .*enable_icc/);
  assert.match(reason({ constructor: 'x' }), /not known/);
  assert.match(reason({ 'com.docker.network.bridge.enable_icc': 'yes' }), /want true or false/);
  assert.match(reason({ 'com.docker.network.bridge.name': '-x' }), /is not an interface name/);
  assert.match(reason({ mtu: '90000' }), /want 576 to 65535/);
  assert.match(reason({ mtu: '1400', 'com.docker.network.driver.mtu': '1300' }), /given twice/);
  assert.deepEqual(parseOptions(bridge, { mtu: '1400' }), {
    ok: true,
    value: { 'com.docker.network.driver.mtu': '1400' },
  });
});
