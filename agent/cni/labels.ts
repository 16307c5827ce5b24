/** Label of a sandbox that a container runtime asked for: the id of its container. */
export const containerLabel = 'weft.cni.container';

/** Label that an interface of it was asked for; its value is the name of the network configuration. */
export const attachmentLabel = (ifName: string): string => `${attachmentPrefix}${ifName}`;

const attachmentPrefix = 'weft.cni.attachment.';

/** Interfaces that a runtime asked for, with the configuration of each, by the labels of a sandbox. */
export function attachmentsIn(labels: { readonly [key: string]: string }): { ifName: string; config: string }[] {
  return Object.entries(labels).flatMap(([label, config]) =>
    label.startsWith(attachmentPrefix) ? [{ ifName: label.slice(attachmentPrefix.length), config }] : [],
  );
}

/**
 * Name of a container's sandbox. Of a longer id the first 59 characters: as good as all of it, where ids are by chance,
 * and the label tells whether it is that container's.
 */
export const sandboxNameOf = (containerId: string): string => `cni-${containerId.slice(0, 59)}`;
