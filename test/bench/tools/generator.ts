// A member without a kernel: joins with a manager's token, makes a network that it owns all addresses of, and writes as
// many endpoint records as it is told, with the code that an agent writes them with. One signal (SIGUSR2) writes the next
// lot, another (SIGHUP) a new version of each that there is. What it prints after either ends with the digest of its table.
// Arguments: manager's HOST:PORT, token, own address, records in a lot.
import { ipv4ToNumber, numberToIpv4 } from '../../../controlplane/addresses.ts';
import { type Log, systemEnvironment } from '../../../controlplane/environment.ts';
import { Vault } from '../../../controlplane/identity/vault.ts';
import { newEndpointId } from '../../../controlplane/ids.ts';
import { joinCluster } from '../../../controlplane/membership.ts';
import { parseHostPort } from '../../../controlplane/mesh/address.ts';
import { openStore } from '../../../controlplane/store.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';
import { macOf } from './mac.ts';

/** Of the lab host, and gone with it. */
const STATE = '/var/lib/weft/generator';
const atOnce = 1_000;
/** 262,144 addresses. */
const subnet = '10.64.0.0/14';

const [manager = '', token = '', address = '', lot = ''] = process.argv.slice(2);
const target = parseHostPort(manager, 2377);
if (target === null) throw new Error(`not HOST:PORT: ${manager}`);
const quiet = (): void => {};
const say = (fields: object, message: string): void => {
  process.stderr.write(`${message} ${JSON.stringify(fields)}\n`);
};
const log: Log = { debug: quiet, info: quiet, warn: say, error: say };
const { cluster } = await joinCluster(
  {
    store: openStore(STATE),
    vault: new Vault(Buffer.alloc(32)),
    environment: systemEnvironment,
    log,
    hostname: 'generator',
    version: '0',
    listenHost: address,
    gossipPort: 7946,
    joinPort: 2377,
    pending: () => '',
    avoid: () => [],
    onRemoved: quiet,
  },
  [target],
  token,
  async () => ({ vtep: address, advertise: `${address}:7946`, device: null }),
);
const plain = { internal: false, attachable: true, ingress: false, options: {}, labels: {} };
const network = await cluster.networks.create({ ...plain, name: 'many', subnet });
const first = ipv4ToNumber(subnet.split('/')[0] ?? '') + 256;

/** Endpoints that there are, and how often each was written. */
const ids: string[] = [];
let version = 0;
let working = Promise.resolve();
process.on('SIGUSR2', () => {
  working = working.then(async () => {
    const first = ids.length;
    ids.push(...Array.from({ length: Number(lot) }, newEndpointId));
    await write(first);
  });
});
process.on('SIGHUP', () => {
  working = working.then(async () => {
    version += 1;
    await write(0);
  });
});
process.stdout.write('ready\n');

/** Writes all endpoints from that one on. */
async function write(from: number): Promise<void> {
  for (let at = from; at < ids.length; at += atOnce) {
    const createdMs = Date.now();
    await Promise.all(
      ids.slice(at, at + atOnce).map((id, i) => {
        const index = at + i;
        const base = { sandbox: newEndpointId(), ip: numberToIpv4(first + index), mac: macOf(index) };
        const value = { ...base, name: `e${index}v${version}`, aliases: [], createdMs };
        return cluster.tables.put(networkTopic(network.id), `ep/${id}`, value);
      }),
    );
  }
  process.stdout.write(`written ${ids.length} ${version} ${cluster.tables.digest(networkTopic(network.id))}\n`);
}
