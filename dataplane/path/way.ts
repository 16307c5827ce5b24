/** Without options or extension headers (RFC 791, RFC 8200). */
export const ipHeaderBytes = { 4: 20, 6: 40 } as const;

/** Where a node is found. */
export interface ProbeTarget {
  /** Its VTEP: the path of its VXLAN packets is what counts. */
  readonly address: string;
  /** UDP, at which an agent answers. */
  readonly port: number;
}

/** One way of asking whether packets of a size come through. */
export interface ProbeWay {
  readonly name: 'icmp' | 'udp';
  /**
   * Sends one probe.
   * @param bytes of the whole IP packet
   * @param heard called when it is answered, or when this host's kernel refuses to send it because it is too large
   * @returns to be called when nobody wants to hear of it any more
   */
  send(target: ProbeTarget, bytes: number, heard: (what: 'answer' | 'refused') => void): () => void;
}
