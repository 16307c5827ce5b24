import assert from 'node:assert/strict';
import { Resolver } from '../../../agent/dns/resolver.ts';
import { makeReply, passedOn, readQuery, readResponse, types, udpLimit } from '../../../agent/dns/wire.ts';
import { networkOf, queryFor } from '../../unit/agent/dns/helpers.ts';
import type { Target } from '../engine.ts';
import { byteInputs, takenIf } from '../inputs.ts';

const endpoints = Array.from({ length: 80 }, (_, at) => ({
  ...{ name: at === 0 ? 'db' : `web${at}`, aliases: ['web'], owner: 'one', ip: `10.0.0.${at}`, ports: ['80/tcp'] },
}));
const names = networkOf('front', endpoints, (address) => address.startsWith('10.0.0.'));

const queries = [
  queryFor('db.front'),
  queryFor('web', types.A, { edns: 1232 }),
  queryFor('WWW.example.com', types.AAAA, { edns: 4096 }),
  queryFor('9.0.0.10.in-addr.arpa', types.PTR),
  queryFor('_80._tcp.web', types.SRV),
  queryFor('_http._tcp.db.front', types.SRV, { edns: 1232 }),
];

const asked = readQuery(queryFor('www.example'));
if (!('query' in asked)) throw new Error('a query that is none');
const { query } = asked;
const id = 7;
const answer = { type: types.A, data: Buffer.of(192, 0, 2, 1) };
const responses = [
  makeReply({ ...query, id }, { rcode: 0, answers: [answer, answer], ttl: 30 }),
  makeReply({ ...query, id, edns: { bytes: 1232, dnssec: true } }, { rcode: 0, answers: [answer], ttl: 30 }),
  makeReply({ ...query, id }, { rcode: 3, answers: [], ttl: 60 }),
];

/** Messages of sandboxes, and of nameservers that the host asks. */
export const dnsTargets = (): Target[] => [
  {
    name: 'dns query',
    weight: 3,
    ...byteInputs(queries),
    take: (bytes: Uint8Array) => {
      const input = Buffer.from(bytes);
      let reply: Buffer | null = null;
      const resolver = new Resolver({
        askers: { of: () => ({ networks: ['n' as never] }), find: async () => null },
        names: () => names,
        isUp: () => true,
        forwarder: { ask: (_query, _client, done) => done(null) },
        random: () => 0.5,
      });
      resolver.answer(input, '172.18.0.2', 'udp', (found) => {
        assert.equal(reply, null);
        reply = found;
      });
      const found = readQuery(input);
      if (!('query' in found)) return takenIf(false);
      const sent = reply as Buffer | null;
      assert.ok(sent !== null && sent.length <= udpLimit(found.query), 'no reply, or one that is too large');
      // Its own question, which any resolver would take it for.
      assert.ok(readResponse(sent, found.query.id, found.query.asked) !== null);
      return takenIf(true);
    },
  },
  {
    name: 'dns response',
    weight: 3,
    ...byteInputs(responses),
    take: (bytes: Uint8Array) => {
      const response = readResponse(Buffer.from(bytes), id, query.asked);
      if (response === null) return takenIf(false);
      assert.ok(response.keepSeconds >= 0 && response.keepSeconds <= 0xffffffff);
      assert.equal(passedOn({ ...query, id: 9 }, response, 1_000).length, bytes.length);
      return takenIf(true);
    },
  },
];
