import './polyfill.ts';
import type { StreamMuxerFactory } from '@libp2p/interface';
import { yamux } from '@libp2p/yamux';
import { StreamState, YamuxStream } from '@libp2p/yamux/stream';

/** What js-libp2p's Yamux keeps of what a stream may still be sent; private there. */
interface Window {
  readonly recvWindow: number;
  readonly recvWindowCapacity: number;
}

const { sendWindowUpdate } = YamuxStream.prototype;

// js-libp2p answers every frame of data by a window update, which at rest is half of all that is sent. Nobody waits for it
// before the window is used up, so it is time at half of it, as in the implementation that Yamux comes from
// (github.com/hashicorp/yamux, stream.go). The first one opens the stream or accepts it.
YamuxStream.prototype.sendWindowUpdate = function (this: YamuxStream): void {
  const { recvWindow, recvWindowCapacity } = this as unknown as Window;
  const isOpen = this.state !== StreamState.Init && this.state !== StreamState.SYNReceived;
  if (isOpen && recvWindowCapacity > recvWindow / 2) return;
  sendWindowUpdate.call(this);
};

/** Yamux, with window updates only when they are needed. */
export function muxer(): () => StreamMuxerFactory {
  // Dead connections are found by liveness, which tells a dead host from a busy one; pings of Yamux would not.
  return yamux({ enableKeepAlive: false }) as () => StreamMuxerFactory;
}
