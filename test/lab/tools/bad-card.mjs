// A cable between two devices that behaves like a network card with a well-known fault: the checksum of a segment inside
// VXLAN, which the sender left to the card, is never made. All else goes through as it is, and as large as it is.
//   node bad-card.mjs DEVICE DEVICE VXLAN-PORT
import { readFileSync } from 'node:fs';
import koffi from 'koffi';

const [, , left, right, portText] = process.argv;
const port = Number(portText);
const libc = koffi.load(null);
const socket = libc.func('int socket(int domain, int type, int protocol)');
const bind = libc.func('int bind(int fd, const void *address, uint32_t length)');
const setsockopt = libc.func('int setsockopt(int fd, int level, int name, const void *value, uint32_t length)');
const recv = libc.func('intptr_t recv(int fd, void *buffer, size_t length, int flags)');
const send = libc.func('intptr_t send(int fd, const void *buffer, size_t length, int flags)');

// packet(7), linux/if_packet.h; linux/virtio_net.h: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
const [AF_PACKET, SOCK_RAW, ETH_P_ALL_BE, SOL_PACKET] = [17, 3, 0x0300, 263];
const [PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING] = [15, 23];
const HEADER = 10;
const NEEDS_CSUM = 1;
const OUTER_UDP = 14 + 20;

function open(device) {
  const fd = socket(AF_PACKET, SOCK_RAW, ETH_P_ALL_BE);
  const one = Buffer.alloc(4);
  one.writeInt32LE(1);
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16LE(ETH_P_ALL_BE, 2);
  address.writeInt32LE(Number(readFileSync(`/sys/class/net/${device}/ifindex`, 'utf8')), 4);
  const fails =
    fd < 0 ||
    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, one, 4) ||
    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, one, 4) ||
    bind(fd, address, address.length);
  if (fails) throw new Error(`open ${device}: errno ${koffi.errno()}`);
  return fd;
}

function spoil(frame) {
  const packet = frame.subarray(HEADER);
  const isVxlan =
    packet.length > OUTER_UDP + 8 &&
    packet.readUInt16BE(12) === 0x0800 &&
    packet[14] === 0x45 &&
    packet[23] === 17 &&
    packet.readUInt16BE(OUTER_UDP + 2) === port;
  if (!isVxlan || !(frame[0] & NEEDS_CSUM) || frame.readUInt16LE(6) <= OUTER_UDP) return;
  frame[0] = 0;
  // None, so that the outer packet is taken as it is.
  packet.writeUInt16BE(0, OUTER_UDP + 6);
}

function carry(from, to) {
  const frame = Buffer.alloc(HEADER + 70_000);
  recv.async(from, frame, frame.length, 0, (_, length) => {
    if (length > HEADER) {
      const whole = frame.subarray(0, Number(length));
      spoil(whole);
      send(to, whole, whole.length, 0);
    }
    carry(from, to);
  });
}

const [a, b] = [open(left), open(right)];
carry(a, b);
carry(b, a);
process.stdout.write('carrying\n');
