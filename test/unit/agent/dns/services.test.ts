import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decide, type Named } from '../../../../agent/dns/decide.ts';
import { Resolver } from '../../../../agent/dns/resolver.ts';
import { byNumber, type PortOf, parseServices } from '../../../../agent/dns/services.ts';
import { readResponse, srvData, types } from '../../../../agent/dns/wire.ts';
import { networkOf, queryFor } from './helpers.ts';

const at = (last: number, more: Partial<Named> = {}): Named => ({
  ...{ name: `web${last}`, aliases: ['web'], owner: 'one', ip: `10.0.0.${last}`, ports: ['80/tcp', '53/udp'] },
  ...more,
});
const known = parseServices('# of this host\nhttp\t80/tcp www # the web\nDomain 53/udp\nhttp 8080/tcp\n\nbad 0/tcp\n');
const portOf: PortOf = (service, protocol) =>
  byNumber(service, protocol) ?? known.get(`${service}/${protocol}`) ?? null;

const ask = (
  name: string,
  endpoints: readonly Named[],
  type: number = types.SRV,
  isUp: (node: string) => boolean = () => true,
) => decide({ name, type, class: 1 }, [networkOf('front', endpoints, () => false)], isUp, () => 0.5, portOf);

const told = (verdict: ReturnType<typeof ask>): string[] =>
  verdict.kind === 'answer'
    ? verdict.answers.map(({ data }) => Buffer.from(data).toString('hex')).sort()
    : [verdict.kind];
const srv = (port: number, ...targets: string[]): string[] =>
  targets.map((target) => srvData(port, target).toString('hex')).sort();

test('a service is told with all that serve it under that name, by number or as the host calls it', () => {
  const all = [at(1), at(2, { ip6: 'fd00::2' }), at(3, { ports: ['443/tcp'] }), at(4, { ports: undefined })];
  for (const name of ['_80._tcp.web', '_http._tcp.web', '_www._tcp.web.front', '_80._tcp.tasks.web'])
    assert.deepEqual(told(ask(name, all)), srv(80, 'web1.front', 'web2.front'), name);
  assert.deepEqual(told(ask('_domain._udp.web', all)), srv(53, 'web1.front', 'web2.front'));
  assert.deepEqual(told(ask('_443._tcp.web3', all)), srv(443, 'web3.front'));
  const found = ask('_80._tcp.web2', all);
  assert.deepEqual(found.kind === 'answer' && found.additional, [
    {
      name: 'web2.front',
      records: [
        { type: types.A, data: Buffer.of(10, 0, 0, 2) },
        { type: types.AAAA, data: Buffer.from(`fd${'0'.repeat(28)}02`, 'hex') },
      ],
    },
  ]);
});

test('a service that nobody has under a name of ours is none, one of a name that is not ours is asked elsewhere', () => {
  const all = [at(1), at(2, { ports: ['132/sctp'] })];
  for (const name of [
    '_81._tcp.web',
    '_80._udp.web',
    '_http._udp.web',
    '_nothing._tcp.web',
    '_0._tcp.web',
    '_80._tcp.web2',
  ])
    assert.deepEqual(told(ask(name, all)), ['noName'], name);
  for (const name of ['_80._tcp.www.example', '_80._tcp.example', '_80.web', '_dmarc.web', '_80._quic.web'])
    assert.deepEqual(told(ask(name, all)), ['forward'], name);
  // It is there, though not of that type; and so is what it hangs below.
  assert.deepEqual(told(ask('_80._tcp.web', all, types.A)), []);
  assert.deepEqual(told(ask('_tcp.web', all)), []);
  assert.deepEqual(told(ask('_tcp.web2', all)), ['noName']);
  assert.deepEqual(told(ask('_tcp.web', [at(1, { ports: ['53/udp'] })])), ['noName']);
});

test('who is down or not ready serves nothing; two of one name on different hosts are one target', () => {
  const all = [at(1), at(2, { owner: 'two' }), at(3, { ready: false })];
  assert.deepEqual(told(ask('_80._tcp.web', all, types.SRV, (node) => node !== 'two')), srv(80, 'web1.front'));
  assert.deepEqual(told(ask('_80._tcp.web3', all)), ['noName']);
  const twins = ask('_80._tcp.web', [at(1, { name: 'app' }), at(2, { name: 'app', owner: 'two' })]);
  assert.deepEqual(told(twins), srv(80, 'app.front'));
  assert.deepEqual(twins.kind === 'answer' && twins.additional?.map(({ records }) => records.length), [2]);
});

test('addresses come with it as far as they fit, and the answer is whole without them', () => {
  const all = Array.from({ length: 250 }, (_, index) =>
    at(index, { name: `w${index}`.padEnd(63, 'x'), ip6: 'fd00::1' }),
  );
  const names = networkOf('n'.repeat(63), all, () => false);
  const resolver = new Resolver({
    askers: { of: () => ({ networks: ['n' as never] }), find: async () => null },
    names: () => names,
    isUp: () => true,
    forwarder: { ask: (_query, _client, reply) => reply(null) },
    random: () => 0.5,
  });
  const replyTo = (name: string, over: 'udp' | 'tcp', edns?: number): Buffer => {
    let found = Buffer.alloc(0);
    resolver.answer(queryFor(name, types.SRV, edns === undefined ? {} : { edns }), '172.18.0.2', over, (reply) => {
      found = Buffer.from(reply);
    });
    const asked = found.subarray(12, 12 + name.length + 2 + 4);
    assert.ok(readResponse(Buffer.from(found), 0x1234, asked) !== null);
    return found;
  };
  const sections = (reply: Buffer): number[] => [reply.readUInt16BE(6), reply.readUInt16BE(10)];
  const isCut = (reply: Buffer): boolean => (reply.readUInt16BE(2) & 0x0200) !== 0;
  const one = `_80._tcp.${'w7'.padEnd(63, 'x')}`;
  assert.deepEqual(sections(replyTo(one, 'udp')), [1, 0]);
  assert.deepEqual(sections(replyTo(one, 'udp', 1232)), [1, 3], 'with the OPT record');
  const whole = replyTo('_80._tcp.web', 'tcp');
  assert.equal(whole.readUInt16BE(6), 250);
  assert.ok(whole.readUInt16BE(10) > 100 && whole.length <= 65_535 && !isCut(whole));
  const short = replyTo('_80._tcp.web', 'udp', 1232);
  assert.ok(isCut(short) && short.length <= 1232);
  assert.ok((sections(short)[0] ?? 0) > 5);
  assert.equal(sections(short)[1], 1, 'the OPT record');
});
