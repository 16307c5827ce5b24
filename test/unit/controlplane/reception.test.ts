import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { joinPath } from '../../../controlplane/identity/join.ts';
import { Reception } from '../../../controlplane/reception.ts';
import { identityOf } from '../../sim/identities.ts';
import { makeCluster, memoryStore, quietLog, virtualEnvironment } from './helpers.ts';

const host = '127.0.0.1';

async function freePort(): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await once(server.close(), 'close');
  return port;
}

test('who asked too often is answered again after a minute, although the clock was set back a year', async () => {
  const { cluster, time } = makeCluster(await identityOf(0, 'manager'), memoryStore());
  await cluster.start();
  let [wallMs, monotonicMs] = [time.now(), 0];
  const environment = { ...virtualEnvironment(time), now: () => wallMs, monotonicMs: () => monotonicMs };
  const listen = { host, port: await freePort() };
  const reception = new Reception({ cluster, listen, environment, log: quietLog });
  await reception.start();
  const ask = async (): Promise<number | undefined> => {
    const asking = request({ ...listen, method: 'POST', path: joinPath, rejectUnauthorized: false, agent: false });
    asking.end('no join');
    const [response] = (await once(asking, 'response')) as [IncomingMessage];
    response.resume();
    return response.statusCode;
  };
  let status: number | undefined = 400;
  for (let asked = 0; asked < 200 && status === 400; asked += 1) status = await ask();
  assert.equal(status, 429);
  wallMs -= 365 * 86_400_000;
  assert.equal(await ask(), 429);
  monotonicMs += 60_000;
  assert.equal(await ask(), 400);
  await reception.stop();
  await cluster.stop();
});
