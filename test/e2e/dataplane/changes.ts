import { BRIDGE, endpointId, macOf } from './wanted.ts';

// What somebody changes on a host whose sandbox `one` is a backend, and has a gate besides.

const inWeft = (...command: string[]): string[] => ['ip', 'netns', 'exec', 'weft', ...command];
const inOne = (...command: string[]): string[] => ['ip', 'netns', 'exec', 'weft-one', ...command];
const inGate = (...command: string[]): string[] => ['ip', 'netns', 'exec', 'weft-gate', ...command];
const port = `wv${endpointId(4097, 1).slice(0, 12)}`;
const gatewayPort = `wg${endpointId(0, 1).slice(0, 12)}`;
/** Of the gate's leg to its host. */
export const hostEnd = `wg${endpointId(3, 9).slice(0, 12)}`;
const forwarding6 = 'net.ipv6.conf.all.forwarding';
const bridgePort = `wg${endpointId(1, 1).slice(0, 12)}`;

/** What somebody does, and how the log names it. None of it waits for a sweep: there is none. */
export const changes: readonly [what: string, command: string[], named: RegExp][] = [
  ['FDB entry', inWeft('bridge', 'fdb', 'del', macOf(4097, 2), 'dev', 'wx4097', 'self'), /missing/],
  [
    'FDB entry leads astray',
    inWeft('bridge', 'fdb', 'replace', macOf(4097, 2), 'dev', 'wx4097', 'dst', '10.99.0.77', 'self', 'permanent'),
    /10\.99\.0\.77/,
  ],
  [
    'FDB entry made temporary',
    inWeft('bridge', 'fdb', 'replace', macOf(4097, 2), 'dev', 'wx4097', 'dst', '10.99.0.2', 'self', 'static'),
    /missing/,
  ],
  [
    'extra FDB entry',
    inWeft('bridge', 'fdb', 'add', '02:00:00:00:00:99', 'dev', 'wx4097', 'dst', '10.99.0.2', 'self', 'permanent'),
    /extra/,
  ],
  ['neighbour', inWeft('ip', 'neigh', 'del', '10.0.0.2', 'dev', 'wx4097'), /missing/],
  [
    'neighbour with another MAC',
    inWeft('ip', 'neigh', 'replace', '10.0.0.2', 'lladdr', '02:00:00:00:00:98', 'dev', 'wx4097', 'nud', 'permanent'),
    /02:00:00:00:00:98/,
  ],
  [
    'neighbour made temporary',
    inWeft('ip', 'neigh', 'replace', '10.0.0.2', 'lladdr', macOf(4097, 2), 'dev', 'wx4097', 'nud', 'stale'),
    /missing/,
  ],
  ['IPv6 neighbour', inWeft('ip', 'neigh', 'del', 'fd00::2', 'dev', 'wx4097'), /missing/],
  [
    'IPv6 neighbour with another MAC',
    inWeft('ip', 'neigh', 'replace', 'fd00::2', 'lladdr', '02:00:00:00:00:98', 'dev', 'wx4097', 'nud', 'permanent'),
    /02:00:00:00:00:98/,
  ],
  ['static entry of a port', inWeft('bridge', 'fdb', 'del', macOf(4097, 1), 'dev', port, 'master'), /static FDB/],
  ['bridge', inWeft('ip', 'link', 'del', 'wb4097'), /missing/],
  ['bridge down', inWeft('ip', 'link', 'set', 'wb4097', 'down'), /is down/],
  ['bridge MTU', inWeft('ip', 'link', 'set', 'wb4097', 'mtu', '1300'), /MTU \(1300, not 1450\)/],
  ['VXLAN device', inWeft('ip', 'link', 'del', 'wx4097'), /missing/],
  ['VXLAN device down', inWeft('ip', 'link', 'set', 'wx4097', 'down'), /is down/],
  ['VXLAN device without its bridge', inWeft('ip', 'link', 'set', 'wx4097', 'nomaster'), /not a port/],
  [
    'VXLAN device that learns',
    inWeft('ip', 'link', 'set', 'wx4097', 'type', 'vxlan', 'id', '4097', 'learning'),
    /learns/,
  ],
  ['VXLAN device with another name', inWeft('ip', 'link', 'set', 'wx4097', 'down', 'name', 'wx4444'), /extra/],
  ['veth', inWeft('ip', 'link', 'del', port), /missing/],
  ['veth MTU', inWeft('ip', 'link', 'set', port, 'mtu', '1400'), /MTU \(1400, not 1450\)/],
  ['port flag', inWeft('ip', 'link', 'set', port, 'type', 'bridge_slave', 'learning', 'on'), /learning/],
  ['port without multicast', inWeft('bridge', 'link', 'set', 'dev', port, 'mcast_flood', 'off'), /multicast/],
  ['tunnel without broadcast', inWeft('bridge', 'link', 'set', 'dev', 'wx4097', 'bcast_flood', 'off'), /broadcast/],
  ['tunnel without unicast', inWeft('bridge', 'link', 'set', 'dev', 'wx4097', 'flood', 'off'), /flood/],
  ['port flag by the bridge', inWeft('bridge', 'link', 'set', 'dev', port, 'learning', 'on'), /learning/],
  ['MAC in the sandbox', inOne('ip', 'link', 'set', 'eth0', 'address', '02:00:00:00:00:77'), /02:00:00:00:00:77/],
  ['address', inOne('ip', 'address', 'flush', 'dev', 'eth0'), /address/],
  ['extra address', inOne('ip', 'address', 'add', '10.7.7.7/24', 'dev', 'eth0'), /address 10\.7\.7\.7\/24 is extra/],
  ['IPv6 address', inOne('ip', 'address', 'del', 'fd00::1/64', 'dev', 'eth0'), /address fd00::1\/64 is missing/],
  ['extra IPv6 address', inOne('ip', 'address', 'add', 'fd07::7/64', 'dev', 'eth0'), /address fd07::7\/64 is extra/],
  ['IPv6 of a leg', inOne('sysctl', '-w', 'net.ipv6.conf.eth0.disable_ipv6=1'), /IPv6 is off/],
  ['sandbox end down', inOne('ip', 'link', 'set', 'eth0', 'down'), /is down/],
  ['loopback down', inOne('ip', 'link', 'set', 'lo', 'down'), /lo is down/],
  ['default route', inOne('ip', 'route', 'del', 'default'), /default route is missing/],
  ['route to the own subnet', inOne('ip', 'route', 'del', '10.0.0.0/16'), /route to 10\.0\.0\.0\/16 is missing/],
  ['route to another subnet', inOne('ip', 'route', 'del', '10.100.0.0/24'), /route to 10\.100\.0\.0\/24 is missing/],
  ['route to the own IPv6 subnet', inOne('ip', 'route', 'del', 'fd00::/64'), /route to fd00::\/64 is missing/],
  ['route to another IPv6 subnet', inOne('ip', 'route', 'del', 'fd01::/64'), /route to fd01::\/64 is missing/],
  ['gateway port', ['ip', 'link', 'del', gatewayPort], /missing/],
  ['gateway port not isolated', ['bridge', 'link', 'set', 'dev', gatewayPort, 'isolated', 'off'], /isolated/],
  ['gateway bridge', ['ip', 'link', 'del', 'docker_gwbridge'], /missing/],
  ['gateway bridge down', ['ip', 'link', 'set', 'docker_gwbridge', 'down'], /is down/],
  ['address of the gateway bridge', ['ip', 'address', 'flush', 'dev', 'docker_gwbridge'], /address .* is missing/],
  ['bridge of a network', ['ip', 'link', 'del', BRIDGE.name], /missing/],
  ['mark of that bridge', ['ip', 'link', 'set', BRIDGE.name, 'alias', 'theirs'], /has not our mark/],
  ['its port isolated', ['bridge', 'link', 'set', 'dev', bridgePort, 'isolated', 'on'], /isolated/],
  ['all rules', ['nft', 'flush', 'ruleset'], /nft table inet weft missing/],
  ['one rule more', ['nft', 'add rule inet weft forward accept'], /nft table inet weft was altered/],
  ['rules of a chain', ['nft', 'flush chain inet weft forward'], /nft table inet weft was altered/],
  ['guard', ['nft', 'delete table inet weft_guard'], /nft table inet weft_guard missing/],
  ['rule of the guard', ['nft', 'insert rule inet weft_guard input accept'], /nft table inet weft_guard was altered/],
  ['member unknown to the guard', ['nft', 'flush set inet weft_guard vteps4'], /10\.99\.0\.2 in set vteps4 .* missing/],
  ['outsider', ['nft', 'add element inet weft_guard vteps4 { 10.99.0.66 }'], /10\.99\.0\.66 in set vteps4 .* extra/],
  ['unguarded network', ['nft', 'delete element inet weft_guard vnis { 4097 }'], /4097 in set vnis .* missing/],
  ['guard of the ports', inWeft('nft', 'flush', 'ruleset'), /nft table bridge weft_ports missing/],
  [
    'what a port may say',
    inWeft('nft', 'flush', 'set', 'bridge', 'weft_ports', 'arps'),
    /10\.0\.0\.1 .* in set arps .* missing/,
  ],
  ['table for rules of the owner', ['nft', 'delete table inet weft_user'], /nft table inet weft_user missing/],
  ['clamp of agents', ['nft', 'delete table inet weft_agents'], /nft table inet weft_agents missing/],
  ['clamp', inWeft('nft', 'delete table bridge weft_mss'), /nft table bridge weft_mss missing/],
  ['rules of the clamp', inWeft('nft', 'flush chain bridge weft_mss forward'), /nft table bridge weft_mss was altered/],
  ['mesh', inGate('nft', 'delete', 'table', 'inet', 'weft_mesh'), /nft table inet weft_mesh missing/],
  ['rules of the mesh', inGate('nft', 'flush', 'chain', 'inet', 'weft_mesh', 'lead'), /inet weft_mesh was altered/],
  [
    'backend of the mesh',
    inGate('nft', 'flush map inet weft_mesh backends'),
    /in set backends of inet weft_mesh missing/,
  ],
  [
    'backend that is none',
    inGate('nft', 'add element inet weft_mesh backends { tcp . 8080 . 7 : 10.0.0.66 . 80 }'),
    /tcp 8080 7 : 10\.0\.0\.66 80 in set backends .* extra/,
  ],
  [
    'backend that is another',
    inGate(
      'nft',
      'delete element inet weft_mesh backends { tcp . 8080 . 0 }; ' +
        'add element inet weft_mesh backends { tcp . 8080 . 0 : 10.0.0.66 . 80 }',
    ),
    /tcp 8080 0 : 10\.0\.0\.1 80 in set backends .* missing/,
  ],
  ['forwarding of the gate', inGate('sysctl', '-w', 'net.ipv4.ip_forward=0'), /gate: ip_forward is 0/],
  ['way back', inOne('nft', 'delete', 'table', 'inet', 'weft_return'), /nft table inet weft_return missing/],
  ['gate that a backend knows', inOne('nft', 'flush map inet weft_return gates'), /in set gates .* missing/],
  [
    'rule of the way back',
    inOne('ip', 'rule', 'del', 'pref', '5757'),
    /routing rule back to gate 10\.0\.0\.9 is missing/,
  ],
  [
    'rule that leads nowhere',
    inOne('ip', 'rule', 'add', 'pref', '5757', 'fwmark', '7', 'lookup', '7', 'protocol', '201'),
    /routing rule 7\/4294967295 7 5757 is extra/,
  ],
  ['route of the way back', inOne('ip', 'route', 'flush', 'table', '1459617801'), /route back to gate 10\.0\.0\.9/],
  [
    'route of the way back astray',
    inOne('ip', 'route', 'replace', 'default', 'via', '10.0.0.66', 'dev', 'eth0', 'table', '1459617801'),
    /route back to gate 10\.0\.0\.9/,
  ],
  [
    'IPv6 rule of the way back',
    inOne('ip', '-6', 'rule', 'del', 'pref', '5757'),
    /rule back to gate fd00::9 is missing/,
  ],
  [
    'last IPv6 rule',
    inOne('ip', '-6', 'rule', 'del', 'pref', '57570'),
    /rule of what IPv6 goes nowhere else is missing/,
  ],
  [
    'IPv6 route of the way back',
    inOne('ip', '-6', 'route', 'flush', 'table', '1459617801'),
    /route back to gate fd00::9/,
  ],
  [
    'last IPv6 route',
    inOne('ip', '-6', 'route', 'flush', 'table', '1459617792'),
    /route of what IPv6 goes nowhere else/,
  ],
  ['IPv6 forwarding of the gate', inGate('sysctl', '-w', `${forwarding6}=0`), /gate: forwarding of IPv6 is 0/],
  ['IPv6 default route of the gate', inGate('ip', '-6', 'route', 'del', 'default'), /default route is missing/],
  [
    'IPv6 backend of the mesh',
    inGate('nft', 'flush map inet weft_mesh backends6'),
    /in set backends6 of inet weft_mesh missing/,
  ],
  ['leg of the gate to the host', ['ip', 'link', 'del', hostEnd], /missing/],
  ['leg of the gate to the host down', ['ip', 'link', 'set', hostEnd, 'down'], /is down/],
  ['it on a bridge', ['ip', 'link', 'set', hostEnd, 'master', 'docker_gwbridge'], /does not lead to|missing/],
  [
    'address of that',
    ['ip', 'address', 'del', 'fdaa:bbcc:dd00::1/64', 'dev', hostEnd],
    /fdaa:bbcc:dd00::1.64 is missing/,
  ],
  ['extra address of that', ['ip', 'address', 'add', 'fd07::7/64', 'dev', hostEnd], /fd07::7.64 is extra/],
  ['forwarding', ['sysctl', '-w', 'net.ipv4.ip_forward=0'], /ip_forward is 0/],
  ['IPv6 forwarding', ['sysctl', '-w', `${forwarding6}=0`], /forwarding of IPv6 is 0/],
  ['sandbox', ['ip', 'netns', 'del', 'weft-one'], /missing/],
  ['overlay namespace', ['ip', 'netns', 'del', 'weft'], /missing/],
];
