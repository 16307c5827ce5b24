/** Where Docker listens unless it is told otherwise. Apart from the client, which the command line loads only when it asks one. */
export const defaultDockerSocket = '/var/run/docker.sock';
