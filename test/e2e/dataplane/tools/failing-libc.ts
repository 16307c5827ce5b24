// Stands in for rtnetlink/libc.ts: sockets on which any one call may fail.
import { openRawSocket as open, type RawSocket, SystemError } from '../../../../dataplane/rtnetlink/libc.ts';
import { failing, WAYS, type Way } from './failing-calls.ts';

export * from '../../../../dataplane/rtnetlink/libc.ts';

const HEADER_BYTES = 16;
const NLMSG_ERROR = 2;
/** RTM_DELLINK, _DELADDR, _DELROUTE, _DELNEIGH, _DELRULE (linux/rtnetlink.h). */
const DELETES = new Set([17, 21, 25, 29, 33]);
/** RTM_NEWRULE: the one that is added only where it is not there, so that EEXIST says that it is. */
const EXCLUSIVE = new Set([32]);

export function openRawSocket(protocol: number): RawSocket {
  const way = failing();
  if (way !== null) throw new SystemError('open a netlink socket', WAYS[way]);
  const socket = open(protocol);
  /** What the next `receive` gives instead of what there is. */
  let answer: Buffer | 'lost' | 'none' | null = null;
  const drain = (): void => {
    const rest = Buffer.alloc(65536);
    while (socket.receive(rest) !== null);
  };
  /** What of the bytes is sent. */
  const spoil = (bytes: Buffer): Buffer => {
    const how = failing();
    if (how === null) return bytes;
    const messages = messagesIn(bytes);
    if (how === 'half a batch') {
      answer = 'lost';
      const to = messages[messages.length >> 1]?.start ?? 0;
      return bytes.subarray(0, to);
    }
    if (how === 'ENOBUFS' || how === 'time-out') {
      answer = how === 'ENOBUFS' ? 'lost' : 'none';
      return bytes;
    }
    answer = refusals(messages, how);
    const faster = how === 'ENOENT' ? DELETES : how === 'EEXIST' ? EXCLUSIVE : null;
    return messages.every(({ type }) => faster?.has(type)) ? bytes : bytes.subarray(0, 0);
  };
  return {
    fd: socket.fd,
    send(bytes) {
      const sent = spoil(bytes);
      if (sent.length > 0) socket.send(sent);
    },
    async sendAside(bytes) {
      const sent = spoil(bytes);
      if (sent.length > 0) await socket.sendAside(sent);
    },
    receive(into) {
      const given = answer;
      answer = null;
      if (given === null) return socket.receive(into);
      drain();
      if (given === 'lost') throw new SystemError('receive from netlink', WAYS.ENOBUFS);
      return given === 'none' ? null : given.copy(into);
    },
    netnsCookie: () => socket.netnsCookie(),
    close: () => socket.close(),
    closeAside: () => socket.closeAside(),
  };
}

interface Sent {
  readonly start: number;
  readonly type: number;
  readonly seq: number;
}

function messagesIn(bytes: Buffer): Sent[] {
  const messages: Sent[] = [];
  for (let start = 0; start + HEADER_BYTES <= bytes.length; ) {
    messages.push({ start, type: bytes.readUInt16LE(start + 4), seq: bytes.readUInt32LE(start + 8) });
    start += (bytes.readUInt32LE(start) + 3) & ~3;
  }
  return messages;
}

/** An error for each of the messages: struct nlmsghdr, then struct nlmsgerr with the header that it answers. */
function refusals(messages: readonly Sent[], how: Way): Buffer {
  return Buffer.concat(
    messages.map(({ type, seq }) => {
      const reply = Buffer.alloc(36);
      reply.writeUInt32LE(36, 0);
      reply.writeUInt16LE(NLMSG_ERROR, 4);
      reply.writeUInt32LE(seq, 8);
      reply.writeInt32LE(-WAYS[how], 16);
      reply.writeUInt16LE(type, 24);
      reply.writeUInt32LE(seq, 28);
      return reply;
    }),
  );
}
