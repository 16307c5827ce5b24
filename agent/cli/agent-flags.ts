/** Flags of `weft agent` as they stand on the command line; each overrides the environment and the config file. */
export interface AgentFlags {
  readonly config?: string;
  readonly stateDir?: string;
  readonly runDir?: string;
  readonly socket?: string;
  readonly socketGroup?: string;
  readonly hostname?: string;
  readonly listenAddr?: string;
  readonly advertiseAddr?: string;
  readonly dataPathAddr?: string;
  readonly gossipPort?: number;
  readonly joinPort?: number;
  readonly gatewaySubnet?: string;
  readonly dns?: readonly string[];
  readonly dnsSearch?: readonly string[];
  readonly dnsOpts?: readonly string[];
  readonly drift?: string;
  readonly logLevel?: string;
  readonly logFormat?: string;
}

/** Runs the agent in the foreground until it is told to stop; resolves to the exit code. */
export type RunAgent = (flags: AgentFlags) => Promise<number>;
