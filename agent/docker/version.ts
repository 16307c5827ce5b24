import { DockerError } from './errors.ts';

/** Docker 20.10, which is the oldest that is tested with. */
const oldest: ApiVersion = [1, 41];
/** The oldest that Docker 29 still speaks, and the newest that this client was written for. */
const newest: ApiVersion = [1, 44];

type ApiVersion = readonly [major: number, minor: number];

/**
 * The API version to speak with a Docker: ours where it can, else the nearest that it can.
 * @returns e.g. `1.44`
 * @throws DockerError for a Docker that is too old, or what is no version
 */
export function chooseVersion(docker: { readonly apiVersion: string; readonly minApiVersion: string }): string {
  const max = parse(docker.apiVersion);
  const min = docker.minApiVersion === '' ? oldest : parse(docker.minApiVersion);
  if (max === undefined || min === undefined) {
    const said = JSON.stringify([docker.minApiVersion, docker.apiVersion]).slice(0, 128);
    throw new DockerError('bad_reply', `not an API version of Docker: ${said}`);
  }
  if (isOlder(max, oldest)) {
    throw new DockerError(
      'refused',
      `this Docker speaks API ${max.join('.')}; ${oldest.join('.')} is needed: update it to 20.10 or later`,
    );
  }
  const chosen = isOlder(max, newest) ? max : isOlder(newest, min) ? min : newest;
  return chosen.join('.');
}

function parse(text: string): ApiVersion | undefined {
  const match = /^(\d{1,4})\.(\d{1,4})$/.exec(text);
  return match ? [Number(match[1]), Number(match[2])] : undefined;
}

const isOlder = (a: ApiVersion, b: ApiVersion): boolean => a[0] < b[0] || (a[0] === b[0] && a[1] < b[1]);
