import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Stream, StreamMuxer } from '@libp2p/interface';
import { multiaddrConnectionPair } from '@libp2p/utils';
import { muxer } from '../../../controlplane/mesh/muxer.ts';

interface Pair {
  readonly near: Stream;
  readonly far: Stream;
  /** Frames that the far end has sent. */
  readonly answers: () => number;
}

/** A stream between two muxers. */
async function openStream(): Promise<Pair> {
  const [one, two] = multiaddrConnectionPair();
  let answers = 0;
  one.addEventListener('message', () => {
    answers += 1;
  });
  const [here, there]: StreamMuxer[] = [one, two].map((connection) => muxer()().createStreamMuxer(connection));
  assert.ok(here && there);
  const accepted = new Promise<Stream>((resolve) => {
    there.addEventListener('stream', ({ detail }) => resolve(detail));
  });
  const near = await here.createStream();
  return { near, far: await accepted, answers: () => answers };
}

/** Resolves when so many bytes have come. */
function received(stream: Stream, bytes: number): Promise<void> {
  let got = 0;
  return new Promise((resolve) => {
    stream.addEventListener('message', ({ data }) => {
      got += data.byteLength;
      if (got >= bytes) resolve();
    });
  });
}

describe('the muxer', () => {
  it('does not answer each frame with a window update', async () => {
    const { near, far, answers } = await openStream();
    for (let at = 0; at < 100; at++) {
      const arrived = received(far, 8);
      near.send(new Uint8Array(8));
      await arrived;
    }
    assert.ok(answers() <= 1, `${answers()} frames for the opening of the stream`);
  });

  it('carries more than a window', async () => {
    const { near, far, answers } = await openStream();
    const [chunk, count] = [64 * 1024, 64];
    const arrived = received(far, chunk * count);
    for (let at = 0; at < count; at++) if (!near.send(new Uint8Array(chunk))) await near.onDrain();
    await arrived;
    assert.ok(answers() > 1 && answers() <= count, `${answers()} window updates`);
  });
});
