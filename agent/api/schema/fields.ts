import { z } from 'zod';

// Bounds of names: Docker's rule for names, and a length that fits a hostname label.
export const name = z
  .string()
  .regex(
    /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/,
    'want 1 to 63 letters, digits, _ . or -, starting with a letter or digit',
  );
/** A name, an id or an unambiguous prefix of an id. */
export const reference = z
  .string()
  .min(1)
  .max(64)
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/, 'want a name, an id or the start of an id');
export const ipText = z.string().min(2).max(45);
export const cidrText = z.string().min(4).max(49);
/** With prefix length, `10.0.1.2/24`; empty where the network has none of the family. */
export const addresses = { IPv4Address: z.string(), IPv6Address: z.string() };
/** That address and no other. */
export const wantedAddresses = { IPAddress: ipText.optional(), GlobalIPv6Address: ipText.optional() };
/** How an endpoint's interface in the sandbox is to be; what is absent is chosen. */
export const wantedInterface = {
  /** Its name: 1 to 15 letters, digits, _ . -. */
  Interface: z.string().min(1).max(15).optional(),
  MacAddress: z.string().max(17).optional(),
};
export const port = z.int().min(1).max(65535);
export const labels = z
  .record(z.string().min(1).max(128), z.string().max(1024))
  .refine((all) => Object.keys(all).length <= 64, {
    message: 'at most 64 labels',
  });
export const isoTime = z.string();
// Docker's least is an hour; less serves to try renewals out.
export const certExpiryMs = z
  .int()
  .min(10_000)
  .max(10 * 365 * 86_400_000);

export const Role = z.enum(['worker', 'manager']);
export type Role = z.infer<typeof Role>;
