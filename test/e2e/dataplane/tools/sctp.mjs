// The beginning of an SCTP association (RFC 9260, section 5.1), by hand: the kernel may have no sockets of SCTP.
//   sctp.mjs serve PORT           answers INIT and COOKIE ECHO that come to the port
//   sctp.mjs init ADDRESS PORT    begins one; prints who answered, as JSON
// Chunks end with text: in INIT ACK, whom the service sees.
import { randomBytes } from 'node:crypto';
import raw from 'raw-socket';

const SCTP = 132;
const HEADER_LENGTH = 12;
const [INIT, INIT_ACK, COOKIE_ECHO, COOKIE_ACK] = [1, 2, 10, 11];
const STATE_COOKIE = 7;
const PATIENCE_MS = 3_000;
const [FROM_FIRST, FROM_COUNT] = [20_000, 10_000];

/** CRC32c (RFC 9260, appendix A), over the packet with its checksum as zeros. */
function crc32c(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return ~crc >>> 0;
}

const padded = (bytes) => Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);

/** Type and length of a chunk come before its value; of a parameter as well, but the type is of two bytes. */
function tagged(type, value, typeBytes) {
  const head = Buffer.alloc(4);
  if (typeBytes === 1) head[0] = type;
  else head.writeUInt16BE(type);
  head.writeUInt16BE(4 + value.length, 2);
  return padded(Buffer.concat([head, value]));
}

/** What INIT and INIT ACK say: tag, window, streams out and in, first number. */
function opening(tag) {
  const value = Buffer.alloc(16);
  value.writeUInt32BE(tag);
  value.writeUInt32BE(65_536, 4);
  value.writeUInt16BE(1, 8);
  value.writeUInt16BE(1, 10);
  value.writeUInt32BE(1, 12);
  return value;
}

function packet(from, to, tag, type, value) {
  const header = Buffer.alloc(HEADER_LENGTH);
  header.writeUInt16BE(from);
  header.writeUInt16BE(to, 2);
  header.writeUInt32BE(tag, 4);
  const bytes = Buffer.concat([header, tagged(type, value, 1)]);
  bytes.writeUInt32LE(crc32c(bytes), 8);
  return bytes;
}

/** Of an IPv4 packet; null when its checksum is wrong. */
function read(datagram) {
  const bytes = Buffer.from(datagram.subarray((datagram[0] & 15) * 4));
  const told = bytes.readUInt32LE(8);
  bytes.writeUInt32LE(0, 8);
  if (crc32c(bytes) !== told) return null;
  const value = bytes.subarray(HEADER_LENGTH + 4, HEADER_LENGTH + bytes.readUInt16BE(HEADER_LENGTH + 2));
  return {
    from: bytes.readUInt16BE(0),
    to: bytes.readUInt16BE(2),
    tag: bytes.readUInt32BE(4),
    type: bytes[HEADER_LENGTH],
    value,
  };
}

/** The kernel makes the checksum; from 0.0.0.0 also the source. */
function inIpv4(source, destination, payload) {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header.writeUInt16BE(header.length + payload.length, 2);
  header[8] = 64;
  header[9] = SCTP;
  for (const [at, address] of [source, destination].entries()) header.set(address.split('.').map(Number), 12 + 4 * at);
  return Buffer.concat([header, payload]);
}

function open(onPacket) {
  const socket = raw.createSocket({ addressFamily: raw.AddressFamily.IPv4, protocol: SCTP });
  socket.setOption(raw.SocketLevel.IPPROTO_IP, raw.SocketOption.IP_HDRINCL, 1);
  // A socket that nobody holds is collected, and hears nothing more.
  process.on('exit', () => socket.close());
  const send = (source, destination, payload) => {
    const bytes = inIpv4(source, destination, payload);
    socket.send(bytes, 0, bytes.length, destination, (error) => {
      if (error) throw error;
    });
  };
  socket.on('message', (datagram, address) => {
    const found = read(datagram);
    const own = [...datagram.subarray(16, 20)].join('.');
    // As SCTP has it, from the address that was asked.
    if (found !== null) onPacket(found, address, (payload) => send(own, address, payload));
  });
  return { socket, send };
}

function serve(port) {
  const tag = randomBytes(4).readUInt32BE();
  open(({ from, to, tag: theirs, type, value }, address, reply) => {
    if (to !== port) return;
    const seen = Buffer.from(`${address} ${from}`);
    if (type === INIT) {
      const body = Buffer.concat([opening(tag), tagged(STATE_COOKIE, seen, 2)]);
      reply(packet(port, from, value.readUInt32BE(), INIT_ACK, body));
      // Kept in the cookie by a real one, which keeps nothing itself.
      peers.set(`${seen}`, value.readUInt32BE());
    } else if (type === COOKIE_ECHO && theirs === tag) {
      reply(packet(port, from, peers.get(`${seen}`), COOKIE_ACK, Buffer.alloc(0)));
    }
  });
  const peers = new Map();
}

function init(address, port) {
  const tag = randomBytes(4).readUInt32BE();
  const from = FROM_FIRST + (tag % FROM_COUNT);
  const found = {};
  const { socket, send } = open((answer, by, reply) => {
    if (answer.to !== from || answer.tag !== tag) return;
    const source = `${by} ${answer.from}`;
    if (answer.type === INIT_ACK) {
      const cookie = answer.value.subarray(20, 16 + answer.value.readUInt16BE(18));
      Object.assign(found, { ack: source, seen: `${cookie}`, from });
      reply(packet(from, port, answer.value.readUInt32BE(), COOKIE_ECHO, cookie));
    } else if (answer.type === COOKIE_ACK) {
      end({ ...found, established: source });
    }
  });
  const end = (result) => {
    clearTimeout(late);
    process.stdout.write(JSON.stringify(result));
    socket.close();
  };
  const late = setTimeout(() => end({ ...found, late: true }), PATIENCE_MS);
  send('0.0.0.0', address, packet(from, port, 0, INIT, opening(tag)));
}

const [verb, ...args] = process.argv.slice(2);
if (verb === 'init') init(args[0], Number(args[1]));

export { serve };
