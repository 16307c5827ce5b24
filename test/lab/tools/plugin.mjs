// A small libnetwork remote driver, as anybody could write one: `plugin.mjs SOCKET [--no-gateway]`. Its networks are bridges on
// the host, its endpoints veths. Prints each call as a line of JSON. An option `fail=METHOD` of a network makes that method
// refuse, `hang=METHOD` makes it hang.
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { dirname } from 'node:path';

const [socket, flag] = process.argv.slice(2);
const ip = (...args) => execFileSync('ip', args);
const networks = new Map();
const bridgeOf = (id) => `pb${id.slice(0, 10)}`;
const portOf = (id) => `pp${id.slice(0, 10)}`;
const innerOf = (id) => `pi${id.slice(0, 10)}`;

const methods = {
  'Plugin.Activate': () => ({ Implements: ['NetworkDriver'] }),
  'NetworkDriver.GetCapabilities': () => ({ Scope: 'local', ConnectivityScope: 'local' }),
  'NetworkDriver.CreateNetwork': ({ NetworkID: id, IPv4Data: [pool] }) => {
    ip('link', 'add', bridgeOf(id), 'type', 'bridge');
    ip('address', 'add', pool.Gateway, 'dev', bridgeOf(id));
    ip('link', 'set', bridgeOf(id), 'up');
    return {};
  },
  'NetworkDriver.DeleteNetwork': ({ NetworkID: id }) => {
    ip('link', 'del', bridgeOf(id));
    return {};
  },
  'NetworkDriver.CreateEndpoint': () => ({ Interface: { MacAddress: '' } }),
  'NetworkDriver.Join': ({ NetworkID: network, EndpointID: id }) => {
    ip('link', 'add', portOf(id), 'type', 'veth', 'peer', 'name', innerOf(id));
    ip('link', 'set', portOf(id), 'master', bridgeOf(network));
    ip('link', 'set', portOf(id), 'up');
    const gateway = networks.get(network).IPv4Data[0].Gateway.replace(/\/.*/, '');
    return {
      InterfaceName: { SrcName: innerOf(id), DstPrefix: 'mesh' },
      Gateway: flag === '--no-gateway' ? '' : gateway,
      StaticRoutes: [{ Destination: '10.123.0.0/24', RouteType: 1, NextHop: '' }],
    };
  },
  'NetworkDriver.ProgramExternalConnectivity': () => ({}),
  'NetworkDriver.Leave': () => ({}),
  'NetworkDriver.DeleteEndpoint': ({ EndpointID: id }) => {
    ip('link', 'del', innerOf(id));
    return {};
  },
};

mkdirSync(dirname(socket), { recursive: true });
rmSync(socket, { force: true });
createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const method = request.url.slice(1);
  const body = JSON.parse(Buffer.concat(chunks).toString() || '{}');
  if (method === 'NetworkDriver.CreateNetwork') networks.set(body.NetworkID, body);
  const { fail, hang } = networks.get(body.NetworkID)?.Options['com.docker.network.generic'] ?? {};
  console.log(JSON.stringify({ method, body }));
  if (hang === method) return;
  const answer = (status, value) => response.writeHead(status).end(JSON.stringify(value));
  if (methods[method] === undefined) return answer(404, {});
  if (fail === method) return answer(500, { Err: `this plugin refuses ${method}` });
  try {
    answer(200, methods[method](body));
  } catch (error) {
    answer(500, { Err: error.message.split('\n')[0] });
  }
}).listen(socket, () => console.log('listening'));
