import type { Cluster } from './cluster.ts';
import type { Environment, Log } from './environment.ts';
import { type JoinListener, startJoinListener } from './identity/join-listener.ts';
import { JoinTokens } from './identity/join-tokens.ts';
import { LimitedTokens } from './identity/limited-tokens.ts';
import type { NodeId } from './ids.ts';
import { joinDecider } from './joining.ts';
import { formatHostPort, type HostPort, parseHostPort } from './mesh/address.ts';

// A port that somebody else has may become free.
const retryMs = 5_000;

interface Open {
  readonly tokens: JoinTokens;
  readonly limited: LimitedTokens;
  readonly listener: JoinListener;
}

export interface ReceptionInit {
  readonly cluster: Cluster;
  readonly listen: HostPort;
  readonly environment: Environment;
  readonly log: Log;
}

/** What a manager keeps for those who want to join, tokens and a listener: there as long as this node is a manager. */
export class Reception {
  readonly #init: ReceptionInit;
  #open: Open | null = null;
  #shown: Uint8Array | null = null;
  #following: Promise<void> = Promise.resolve();
  #cancelRetry: () => void = () => {};
  #unwatch: () => void = () => {};
  #stopped = false;
  /** Why joins are not taken here although this node is a manager; '' when they are. */
  problem = '';

  constructor(init: ReceptionInit) {
    this.#init = init;
  }

  /** null on workers. */
  get tokens(): JoinTokens | null {
    return this.#open?.tokens ?? null;
  }

  /** Tokens with an end; null on workers. */
  get limited(): LimitedTokens | null {
    return this.#open?.limited ?? null;
  }

  /** Where this manager takes joins, `IP:PORT`; null when it does not. */
  get joinAddress(): string | null {
    if (this.#open === null) return null;
    const { cluster, listen } = this.#init;
    const host = parseHostPort(cluster.identity.advertise)?.host ?? listen.host;
    return formatHostPort({ host, port: listen.port });
  }

  /** Opens on a manager, and follows the role from then on. @throws when the port cannot be had */
  async start(): Promise<void> {
    const { credentials, roles } = this.#init.cluster;
    await this.#follow();
    this.#unwatch = credentials.watch(() => this.#wake());
    roles.watch(() => this.#wake());
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#unwatch();
    this.#cancelRetry();
    await this.#following;
    await this.#close();
  }

  #wake(): void {
    this.#following = this.#following.then(async () => {
      this.#cancelRetry();
      try {
        await this.#follow();
        this.problem = '';
      } catch (error) {
        this.problem = error instanceof Error ? error.message : String(error);
        this.#init.log.error({ err: error }, 'a manager that cannot take joins; trying again');
        this.#cancelRetry = this.#init.environment.timer(retryMs, () => this.#wake());
      }
    });
  }

  async #follow(): Promise<void> {
    const { cluster } = this.#init;
    const { identity } = cluster;
    const wanted = !this.#stopped && cluster.isManager && identity.authorities.length > 0;
    if (!wanted) return this.#close();
    if (this.#open === null) this.#open = await this.#start();
    else if (this.#shown !== identity.certificate) this.#open.listener.show(this.#chain());
    this.#shown = identity.certificate;
  }

  async #start(): Promise<Open> {
    const { cluster, environment, log, listen } = this.#init;
    const now = (): number => environment.now();
    const monotonicMs = (): number => environment.monotonicMs();
    const { tables, view, clock } = cluster;
    const authorities = () => cluster.identity.authorities;
    const root = () => cluster.ownRootCertificate;
    const tokens = new JoinTokens({ tables, view, clock, authorities, root });
    const limited = new LimitedTokens({ tables, view, clock, environment, log, authorities, root });
    cluster.keys.sealTokens = () => tokens.reseal();
    const decide = joinDecider({ now, log }, cluster, tokens, limited);
    const { pkcs8 } = cluster.identity.key;
    const renew = (request: Uint8Array, from: NodeId) =>
      cluster.keys.issuer.answer(request, from, cluster.identity.networkKeys);
    const listener = await startJoinListener({ listen, ...this.#chain(), pkcs8, decide, renew, monotonicMs, log });
    limited.start();
    return { tokens, limited, listener };
  }

  /** What the listener shows: own certificate, and the root that it is of. */
  #chain(): { certificate: Uint8Array; authority: Uint8Array } {
    const { identity, ownRootCertificate } = this.#init.cluster;
    return { certificate: identity.certificate, authority: ownRootCertificate };
  }

  async #close(): Promise<void> {
    const open = this.#open;
    this.#open = null;
    open?.limited.stop();
    await open?.listener.close();
  }
}
