// A member without a kernel: joins with a manager's token, makes a network that it owns all addresses of, and writes as
// many endpoint records as it is told, with the code that an agent writes them with. A signal (SIGUSR2) writes the next lot.
// Arguments: manager's HOST:PORT, token, own address, records in a lot.
import { ipv4ToNumber, numberToIpv4 } from '../../../controlplane/addresses.ts';
import { type Log, systemEnvironment } from '../../../controlplane/environment.ts';
import { Vault } from '../../../controlplane/identity/vault.ts';
import { newEndpointId } from '../../../controlplane/ids.ts';
import { joinCluster } from '../../../controlplane/membership.ts';
import { parseHostPort } from '../../../controlplane/mesh/address.ts';
import { openStore } from '../../../controlplane/store.ts';
import { networkTopic } from '../../../controlplane/tables/kinds.ts';

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
const mac = (index: number): string => {
  const hex = index.toString(16).padStart(8, '0');
  return `02:42:${hex.match(/../g)?.join(':')}`;
};

let written = 0;
let working = Promise.resolve();
process.on('SIGUSR2', () => {
  working = working.then(write);
});
process.stdout.write('ready\n');

async function write(): Promise<void> {
  for (const end = written + Number(lot); written < end; ) {
    const batch = Array.from({ length: Math.min(atOnce, end - written) }, (_, at) => written + at);
    const createdMs = Date.now();
    await Promise.all(
      batch.map((index) => {
        const base = { name: `e${index}`, sandbox: newEndpointId(), ip: numberToIpv4(first + index), mac: mac(index) };
        return cluster.tables.put(networkTopic(network.id), `ep/${newEndpointId()}`, {
          ...base,
          aliases: [],
          createdMs,
        });
      }),
    );
    written += batch.length;
  }
  process.stdout.write(`written ${written}\n`);
}
