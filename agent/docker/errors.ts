/** What a call of Docker failed with. */
export type DockerErrorCode =
  /** Nothing listens at the socket: Docker is not there, is stopped, or is starting. */
  | 'not_running'
  | 'no_permission'
  /** No whole answer in time; what was asked may still happen. */
  | 'timeout'
  /** Docker understood, and said no: see `status`. */
  | 'refused'
  /** What came is not an answer of this API, or more than any would be. */
  | 'bad_reply'
  /** The connection broke, or Docker ended it: it was stopped or started anew. */
  | 'ended';

/** A call of Docker's API that came to nothing. */
export class DockerError extends Error {
  override readonly name = 'DockerError';
  readonly code: DockerErrorCode;
  /** HTTP status; 0 when there was none. 404: no such object, 409: it is there, 403: it is in use or predefined. */
  readonly status: number;

  constructor(code: DockerErrorCode, message: string, options: ErrorOptions & { readonly status?: number } = {}) {
    super(message, options);
    this.code = code;
    this.status = options.status ?? 0;
  }
}

/** True for an object that Docker does not know, or knows no more. */
export const isNotFound = (error: unknown): boolean => error instanceof DockerError && error.status === 404;

/** Says of what a connection failed with what it means for whoever asks. */
export function explainConnection(socketPath: string, what: string, cause: unknown): DockerError {
  switch ((cause as NodeJS.ErrnoException | null)?.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
    case 'ENOTDIR':
    case 'ENOTSOCK':
      return new DockerError(
        'not_running',
        `${what}: Docker does not run at ${socketPath}: start it with \`systemctl start docker\`, or set docker-socket`,
        { cause },
      );
    case 'EACCES':
    case 'EPERM':
      return new DockerError(
        'no_permission',
        `${what}: no permission for ${socketPath}: run as root or as a member of group docker`,
        { cause },
      );
    case 'ECONNRESET':
    case 'EPIPE':
      return new DockerError('ended', `${what}: Docker at ${socketPath} closed the connection before it had answered`, {
        cause,
      });
    default: {
      const why = cause instanceof Error ? cause.message : String(cause);
      return new DockerError('bad_reply', `${what}: talking to ${socketPath}: ${why}`, { cause });
    }
  }
}
