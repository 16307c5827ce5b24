import { type Environment, jittered, type Log } from '../environment.ts';
import type { Authority } from '../identity/authority.ts';
import type { Member, Role, TrustAnchor } from '../identity/certificates.ts';
import type { Credentials } from '../identity/credentials.ts';
import { loadNodeKey } from '../identity/keys.ts';
import type { Trust } from '../identity/trust.ts';
import type { NodeId } from '../ids.ts';
import type { Transport } from '../mesh/transport.ts';
import type { Members } from '../tables/members.ts';
import type { Issuer } from './issuer.ts';
import { parseRenewal, type RenewalReply } from './wire.ts';

// SwarmKit's window: so wide that the nodes of a cluster made in one go do not all come at once.
const earliest = 0.5;
const latest = 0.8;
const firstRetryMs = 1_000;
const maxRetryMs = 300_000;
const askTimeoutMs = 10_000;
// A clock may jump, and a timer of Node's cannot wait for longer than 24 days.
const lookAgainMs = 3_600_000;
// After a new root was announced all nodes want a certificate at once; a manager makes some hundred a second.
const spreadPerNodeMs = 5;
const restMs = 5_000;
// Gossip dials every few seconds; by then it would have come through.
const aloneFirstMs = 8_000;

/** How the renewal of this node's own certificate stands, for `weft status`. */
export interface RenewalState {
  /** Milliseconds since the epoch. */
  readonly endsMs: number;
  /** When it is or was to be renewed. */
  readonly dueMs: number;
  /** Past the time by which it should have been renewed. */
  readonly late: boolean;
  readonly failures: number;
  readonly lastError: string;
}

/** Asks managers that the mesh does not reach, on their join port. @throws when none answers */
export type AskDoor = (request: Uint8Array, signal: AbortSignal) => Promise<Uint8Array>;

export interface RenewalInit {
  readonly credentials: Credentials;
  readonly members: Members;
  readonly issuer: Issuer;
  readonly transport: Pick<Transport, 'request'>;
  readonly environment: Environment;
  readonly log: Log;
  /** Managers other than this node, the ones to ask first in front. */
  readonly managers: () => readonly NodeId[];
  readonly nodeCount: () => number;
  readonly wantedRole: (nodeId: NodeId) => Role | null;
  readonly askDoor: AskDoor | null;
  /** For how long this node has had no connection, though it knows of managers. */
  readonly aloneMs: () => number;
}

/** Renews this node's own certificate: in time, when the root changes, and when its role does. */
export class Renewal {
  readonly #init: RenewalInit;
  readonly #self: NodeId;
  /** At which part of its life the certificate is renewed. */
  #fraction: number;
  #cancel: () => void = () => {};
  #running: Promise<void> | null = null;
  #stopped = false;
  /** The timer runs for a renewal, rather than for the next look. */
  #isComing = false;
  #failures = 0;
  #lastError = '';
  /** Times that the join ports were asked since there was a connection, and when last, by a clock that does not jump. */
  #knocks = 0;
  #knockedMs = Number.NEGATIVE_INFINITY;
  #renewedMs = Number.NEGATIVE_INFINITY;

  constructor(init: RenewalInit) {
    this.#init = init;
    this.#self = init.credentials.identity.key.nodeId;
    this.#fraction = earliest + (latest - earliest) * init.environment.random();
  }

  start(): void {
    this.#schedule();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  get state(): RenewalState {
    const own = this.#own();
    if (own === null) return { endsMs: 0, dueMs: 0, late: false, failures: 0, lastError: '' };
    const late = this.#init.environment.now() > atPart(own, latest) && this.#failures > 0;
    return {
      endsMs: own.notAfterMs,
      dueMs: atPart(own, this.#fraction),
      late,
      failures: this.#failures,
      lastError: this.#lastError,
    };
  }

  /** Something may have changed that asks for another certificate: the root, or this node's role. */
  wake(): void {
    if (this.#stopped || this.#running !== null || this.#isComing) return;
    if (this.#isDue()) this.#schedule();
  }

  /** Gets a new certificate now, whether it is time or not. @throws when no manager gives one */
  async renewNow(): Promise<void> {
    while (this.#running !== null) await this.#running;
    const attempt = this.#attempt();
    this.#running = attempt.catch(() => {});
    try {
      await attempt;
      this.#failures = 0;
      this.#lastError = '';
    } finally {
      this.#running = null;
      this.#schedule();
    }
  }

  #own(): Member | null {
    return this.#init.members.get(this.#self);
  }

  /** Why a new certificate is wanted at once, rather than by its age. */
  #isOutdated(own: Member): boolean {
    const { credentials, wantedRole } = this.#init;
    const role = wantedRole(this.#self);
    return own.root !== credentials.identity.trust.current.digest || (role !== null && role !== own.role);
  }

  #isDue(): boolean {
    const own = this.#own();
    return own !== null && (this.#isOutdated(own) || this.#isOld(own) || this.#isShutOut());
  }

  /** Alone for so long that the roots or the keys of the mesh may have changed meanwhile. */
  #isShutOut(): boolean {
    const { aloneMs, askDoor, environment } = this.#init;
    if (aloneMs() === 0) this.#knocks = 0;
    const pause = Math.min(maxRetryMs, aloneFirstMs * 2 ** this.#knocks);
    return askDoor !== null && aloneMs() > aloneFirstMs && environment.monotonicMs() > this.#knockedMs + pause;
  }

  #isOld(own: Member): boolean {
    return this.#init.environment.now() >= atPart(own, this.#fraction);
  }

  #schedule(): void {
    this.#cancel();
    if (this.#stopped) return;
    this.#isComing = this.#failures > 0 || this.#isDue();
    this.#cancel = this.#init.environment.timer(this.#delayMs(), () => {
      if (this.#isDue()) void this.#renew();
      else this.#schedule();
    });
  }

  #delayMs(): number {
    const { environment, issuer, nodeCount } = this.#init;
    const own = this.#own();
    if (own === null) return lookAgainMs;
    if (this.#failures > 0) {
      const life = (own.notAfterMs - own.notBeforeMs) / 10;
      const ceiling = Math.min(maxRetryMs, Math.max(firstRetryMs, life));
      return jittered(environment, Math.min(ceiling, firstRetryMs * 2 ** Math.min(this.#failures - 1, 16)));
    }
    if (this.#isOutdated(own)) {
      // A manager and this node may be of two minds for a moment; they are no reason to ask without end.
      const rest = Math.max(0, this.#renewedMs + restMs - environment.monotonicMs());
      // Who has the root's key asks nobody, and others wait for it.
      return rest + (issuer.hasCurrent ? 0 : environment.random() * spreadPerNodeMs * nodeCount());
    }
    if (this.#isShutOut()) return 0;
    return Math.min(lookAgainMs, Math.max(0, atPart(own, this.#fraction) - environment.now()));
  }

  async #renew(): Promise<void> {
    if (this.#running !== null) return;
    try {
      await this.renewNow();
    } catch (error) {
      this.#failures += 1;
      this.#lastError = error instanceof Error ? error.message : String(error);
      if (this.#failures === 1) this.#init.log.warn({ err: error }, 'the certificate was not renewed; trying again');
      this.#schedule();
    }
  }

  async #attempt(): Promise<void> {
    const { credentials, issuer, log } = this.#init;
    const own = this.#own();
    const canIssue = issuer.hasCurrent || (issuer.authority !== null && own !== null && this.#isOld(own));
    // A manager that is shut out may have missed that its root is none any more.
    if (canIssue && !this.#isShutOut()) {
      const certificate = await issuer.issue(this.#self);
      await this.#take({ certificate, links: [], authorities: credentials.identity.authorities, meshKeys: [] });
    } else await this.#ask();
    this.#fraction = earliest + (latest - earliest) * this.#init.environment.random();
    this.#renewedMs = this.#init.environment.monotonicMs();
    const next = this.#own();
    log.info({ role: next?.role, root: next?.root, endsMs: next?.notAfterMs }, 'this node has a new certificate');
  }

  /** Asks one manager after the other, then the join ports. */
  async #ask(): Promise<void> {
    const { credentials, transport, managers, askDoor } = this.#init;
    const { newCertificateRequest } = await import('../identity/authority.ts');
    const request = await newCertificateRequest(credentials.identity.key);
    let failure: unknown = new Error('no manager is known');
    for (const manager of managers()) {
      try {
        await this.#take(await transport.request(manager, 'renew', request, AbortSignal.timeout(askTimeoutMs)));
        return;
      } catch (error) {
        failure = error;
      }
    }
    if (askDoor === null) throw failure;
    this.#knocks = Math.min(this.#knocks + 1, 10);
    this.#knockedMs = this.#init.environment.monotonicMs();
    await this.#take(await askDoor(request, AbortSignal.timeout(askTimeoutMs)));
  }

  /** @throws when it is no certificate for this node, or not of the root that is wanted */
  async #take(answer: RenewalReply | Uint8Array): Promise<void> {
    const { credentials, members, environment } = this.#init;
    const reply = answer instanceof Uint8Array ? parseRenewal(answer) : answer;
    if (reply === null) throw new Error('the manager answered with something that is no certificate');
    const { identity } = credentials;
    const trust = identity.trust.follow(reply.links);
    const checked = trust.check(reply.certificate, environment.now());
    if (!checked.ok) {
      const why = `${checked.reason}; compare the clocks, and look at the manager's log`;
      throw new Error(`the manager's certificate for this node cannot be used: ${why}`);
    }
    const { member } = checked;
    if (member.nodeId !== this.#self || member.clusterId !== identity.clusterId)
      throw new Error('the manager answered with the certificate of another node');
    const own = this.#own();
    const ofEarlierRoot = member.root !== identity.trust.current.digest && identity.trust.anchor(member.root) !== null;
    if (ofEarlierRoot && own !== null && own.root !== identity.trust.current.digest && !this.#isOld(own))
      throw new Error('the manager has not got the key of the new root yet');
    if (member.role !== (this.#init.wantedRole(this.#self) ?? member.role))
      throw new Error('the manager does not know of the new role yet');
    if (own !== null && member.notBeforeMs <= own.notBeforeMs)
      throw new Error('the manager answered with a certificate that is not newer than the one of this node');
    await credentials.change((before) => ({
      certificate: reply.certificate,
      role: member.role,
      trust: before.trust.follow(reply.links).prefer(member.root),
      authorities: member.role === 'manager' ? together(usable(reply.authorities, trust), before.authorities) : [],
      networkKeys: reply.meshKeys.length > 0 ? reply.meshKeys : before.networkKeys,
    }));
    members.recognise(reply.certificate);
  }
}

/** Those whose key is that of a root that is trusted, the current root's first. */
function usable(authorities: readonly Authority[], trust: Trust): Authority[] {
  return trust.anchors.flatMap((anchor) => authorities.filter((each) => isKeyOf(each, anchor)));
}

/** A key of this node's own stays: the root that it is of may be announced in a moment, and nobody else has it. */
function together(told: readonly Authority[], own: readonly Authority[]): Authority[] {
  const isTold = (each: Authority): boolean =>
    told.some(({ certificate }) => Buffer.from(certificate).equals(each.certificate));
  return [...told, ...own.filter((each) => !isTold(each))];
}

function isKeyOf({ certificate, pkcs8 }: Authority, anchor: TrustAnchor): boolean {
  if (!Buffer.from(certificate).equals(anchor.der)) return false;
  try {
    return Buffer.from(loadNodeKey(pkcs8).publicKey).equals(anchor.publicKey);
  } catch {
    return false;
  }
}

const atPart = ({ notBeforeMs, notAfterMs }: Member, part: number): number =>
  notBeforeMs + (notAfterMs - notBeforeMs) * part;
