// What raw.ts uses of a package that comes without types.
declare module 'raw-socket' {
  import type { EventEmitter } from 'node:events';

  export interface Socket extends EventEmitter<{ message: [Buffer, string]; error: [Error]; close: [] }> {
    send(
      buffer: Buffer,
      offset: number,
      length: number,
      address: string,
      after: (error: Error | null, bytes: number) => void,
    ): void;
    /** @throws Error with the words of strerror(3) */
    setOption(level: number, option: number, value: number): void;
    close(): void;
  }

  export const AddressFamily: { readonly IPv4: number; readonly IPv6: number };
  export const Protocol: { readonly ICMP: number; readonly ICMPv6: number; readonly TCP: number };
  export function createSocket(options: { protocol: number; addressFamily: number }): Socket;
  export function createChecksum(buffer: Buffer): number;
  export function writeChecksum(buffer: Buffer, offset: number, checksum: number): Buffer;
}
