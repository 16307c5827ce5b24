/** Versions of the specification that are spoken, oldest first. */
export const supportedVersions = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof supportedVersions)[number];

export const isSupported = (text: unknown): text is CniVersion =>
  (supportedVersions as readonly unknown[]).includes(text);

export const newest: CniVersion = '1.1.0';

/** The version that each verb came with; absent: all have it. */
const since: { readonly [command: string]: CniVersion } = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' };

/** The version that a verb needs where that is not spoken yet; null where the verb is there. */
export function missingUntil(command: string, version: CniVersion): CniVersion | null {
  const first = since[command];
  const before = first !== undefined && supportedVersions.indexOf(version) < supportedVersions.indexOf(first);
  return before ? first : null;
}

/** Addresses say their family: until 1.0.0 dropped that as redundant. */
export const tellsFamily = (version: CniVersion): boolean => version.startsWith('0.');
