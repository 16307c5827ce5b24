import type { ConnectionEncrypter, MessageStream, SecureConnectionOptions, SecuredConnection } from '@libp2p/interface';
import { lpStream } from '@libp2p/utils';
import { maxCertificateBytes } from '../identity/certificates.ts';

/**
 * Decides whether the node that proved to hold the key of `peerId` may connect.
 * @returns why not, or null
 */
export type Admit = (certificate: Uint8Array, peerId: string) => string | null;

/**
 * Wraps a connection encrypter: after its handshake both ends show their node certificates, still before any muxer or
 * protocol. So whatever runs above, gossipsub included, only ever sees members.
 */
export function membersOnly(
  inner: ConnectionEncrypter,
  ownCertificate: () => Uint8Array,
  admit: Admit,
): ConnectionEncrypter {
  const exchange = async (
    secured: SecuredConnection,
    options: SecureConnectionOptions | undefined,
  ): Promise<SecuredConnection> => {
    const frames = lpStream(secured.connection as MessageStream, { maxDataLength: maxCertificateBytes });
    const [, theirs] = await Promise.all([frames.write(ownCertificate(), options), frames.read(options)]);
    const objection = admit(theirs.subarray(), secured.remotePeer.toString());
    if (objection !== null) throw new Error(`${secured.remotePeer.toString()} is not admitted: ${objection}`);
    return { ...secured, connection: frames.unwrap() };
  };
  return {
    // A name of its own: a peer that would skip the exchange does not find a protocol in common.
    protocol: '/weft/noise-member/1',
    secureOutbound: async (connection, options) => exchange(await inner.secureOutbound(connection, options), options),
    secureInbound: async (connection, options) => exchange(await inner.secureInbound(connection, options), options),
  };
}
