import type { NodeId } from '../ids.ts';

// What a node thinks of one other node, as SWIM has it (Das, Gupta, Motivala 2002) with Lifeguard's suspicion (Dadgar,
// Phillips, Currey 2018). Pure: time, evidence and the words of others come in, the next state comes out.

/**
 * What an accuser saw. `refused`: the host answers and no agent listens. `silent`: nothing answers, ICMP included.
 * `slow`: the host answers, the agent does not.
 */
export type Claim = 'refused' | 'silent' | 'slow';
export type Status = 'alive' | 'suspect' | 'suspended';
export type Why = '' | 'agent down' | 'host down' | 'unreachable' | 'flapping';

/** Raised by the subject alone: at each start the epoch, at each refutation the count. */
export interface Incarnation {
  readonly epoch: number;
  readonly count: number;
}

export interface Member {
  readonly status: Status;
  /** Why it is not alive. */
  readonly why: Why;
  /** Of the status. All times are milliseconds of a clock that does not jump. */
  readonly sinceMs: number;
  /** The highest that the subject itself has signed. */
  readonly incarnation: Incarnation;
  /** Who accuses this incarnation of what; at most `maxAccusers`. */
  readonly accusers: ReadonlyMap<NodeId, Claim>;
  /** It is back, and counts as alive from then on; null when it is not suspended, or not back. */
  readonly returnMs: number | null;
  /** How often it was suspended lately, as of `penaltyMs`: halves every `penaltyHalfLifeMs`. */
  readonly penalty: number;
  readonly penaltyMs: number;
}

export type Event =
  /** It was heard here, or a helper has heard it. */
  | { readonly type: 'seen' }
  | { readonly type: 'accused'; readonly by: NodeId; readonly claim: Claim; readonly incarnation: Incarnation }
  /** We have nothing to do with it any more, and cannot say whether what we suspected was so. */
  | { readonly type: 'withdrawn' }
  /** The subject has said so itself. */
  | { readonly type: 'refuted'; readonly incarnation: Incarnation }
  /** Nothing but time. */
  | { readonly type: 'passed' };

export interface Context {
  readonly self: NodeId;
  readonly nowMs: number;
  /** We look at it ourselves: the word of others makes us look, and counts only together with what we see. */
  readonly watched: boolean;
  /** Nodes that could accuse it, this one included. */
  readonly witnesses: number;
  /** 1 or more: how much longer than usual everything takes here (Lifeguard's local health). */
  readonly stretch: number;
}

export const maxAccusers = 8;
/** A member that was suspended twice within about this time has to stay for a while before it counts as alive. */
export const penaltyHalfLifeMs = 60_000;
export const maxReturnMs = 60_000;

/** How long a suspicion lasts: `alone` with one accuser, nothing when as many agree as are asked for. */
interface Patience {
  readonly aloneMs: number;
  readonly agreedMs: number;
}

// What we saw ourselves. A refusal is as good as proof. Silence has lasted for a second by then, and gets another one
// when nobody else sees it. Saturated processors keep an agent from answering for seconds, but not for so many.
const ownPatience: { readonly [claim in Claim]: Patience } = {
  refused: { aloneMs: 0, agreedMs: 0 },
  silent: { aloneMs: 1_000, agreedMs: 0 },
  slow: { aloneMs: 15_000, agreedMs: 15_000 },
};
// What others say of a node that we have nothing to do with: time enough for it to hear of it and to refute.
const heardPatience: { readonly [claim in Claim]: Patience } = {
  refused: { aloneMs: 2_000, agreedMs: 0 },
  silent: { aloneMs: 3_000, agreedMs: 0 },
  slow: { aloneMs: 15_000, agreedMs: 15_000 },
};
// One liar shall not do, and three are as good as all.
const agreeing = 3;

const strength: { readonly [claim in Claim]: number } = { slow: 0, silent: 1, refused: 2 };

export function newMember(nowMs: number): Member {
  return {
    status: 'alive',
    why: '',
    sinceMs: nowMs,
    incarnation: { epoch: 0, count: 0 },
    accusers: new Map(),
    returnMs: null,
    penalty: 0,
    penaltyMs: nowMs,
  };
}

/** Negative when `a` is older. */
export const compareIncarnations = (a: Incarnation, b: Incarnation): number => a.epoch - b.epoch || a.count - b.count;

/** The next state; the same object when nothing changes. */
export function step(member: Member, event: Event, context: Context): Member {
  switch (event.type) {
    case 'seen':
      return passed(acquitted(member, context), context);
    case 'refuted':
      if (compareIncarnations(event.incarnation, member.incarnation) <= 0) return passed(member, context);
      return passed(acquitted({ ...member, incarnation: event.incarnation }, context), context);
    case 'accused':
      return passed(accused(member, event.by, event.claim, event.incarnation, context), context);
    case 'withdrawn':
      return passed(withdrawn(member, context), context);
    case 'passed':
      return passed(member, context);
  }
}

/** When a state changes by time alone, or null. */
export function deadlineOf(member: Member, context: Context): number | null {
  if (member.status === 'suspended') return member.returnMs;
  if (member.status === 'alive') return null;
  const mine = member.accusers.get(context.self);
  const patience = mine === undefined ? heardPatience : ownPatience;
  const claims = mine === undefined ? new Set(member.accusers.values()) : [mine];
  const needed = Math.max(1, Math.min(agreeing, context.witnesses));
  let shortestMs = Number.POSITIVE_INFINITY;
  for (const claim of claims) {
    const { aloneMs, agreedMs } = patience[claim];
    const agreed = Math.min(needed, accusersOf(member, claim));
    // Each further accuser counts for less than the one before (Lifeguard, section IV-B).
    const share = agreed >= needed ? 1 : Math.log(agreed) / Math.log(needed);
    shortestMs = Math.min(shortestMs, aloneMs - (aloneMs - agreedMs) * share);
  }
  return member.sinceMs + shortestMs * context.stretch;
}

/** Whether this accusation would add anything to what is known. */
export function isNews(member: Member, by: NodeId, claim: Claim, incarnation: Incarnation): boolean {
  // One that is ahead of its subject would bar every refutation: the subject's own word has to come first.
  if (compareIncarnations(incarnation, member.incarnation) !== 0) return false;
  const known = member.accusers.get(by);
  return known === undefined ? member.accusers.size < maxAccusers : strength[claim] > strength[known];
}

/** How long a member that comes back now would have to wait. */
export function returnDelayMs(member: Member, nowMs: number): number {
  const penalty = penaltyAt(member, nowMs);
  return penalty < 2 ? 0 : Math.min(maxReturnMs, 1_000 * 2 ** (penalty - 2));
}

function accused(member: Member, by: NodeId, claim: Claim, incarnation: Incarnation, context: Context): Member {
  const mine = by === context.self;
  // Our own eyes need no room and no incarnation.
  if (!mine && !isNews(member, by, claim, incarnation)) return member;
  if (mine && member.accusers.get(by) === claim && member.returnMs === null) return member;
  const accusers = new Map(member.accusers).set(by, claim);
  const next = { ...member, accusers, returnMs: mine ? null : member.returnMs };
  if (member.status === 'alive' && (mine || !context.watched)) {
    return { ...next, status: 'suspect', why: whyOf(next, context), sinceMs: context.nowMs };
  }
  if (member.status === 'alive' || next.returnMs !== null) return next;
  return { ...next, why: whyOf(next, context) };
}

function acquitted(member: Member, context: Context): Member {
  if (member.status === 'suspended') {
    if (member.returnMs !== null) return member.accusers.size === 0 ? member : { ...member, accusers: new Map() };
    const returnMs = context.nowMs + returnDelayMs(member, context.nowMs);
    return { ...member, accusers: new Map(), returnMs, why: 'flapping' };
  }
  if (member.status === 'suspect') return alive(member, context);
  return member.accusers.size === 0 ? member : { ...member, accusers: new Map() };
}

/** A suspension stands: what was said of it was said to others, and ends by the word of the subject. */
function withdrawn(member: Member, context: Context): Member {
  if (member.status === 'suspended' || !member.accusers.has(context.self)) return member;
  const accusers = new Map(member.accusers);
  accusers.delete(context.self);
  return accusers.size === 0 ? alive(member, context) : { ...member, accusers };
}

function passed(member: Member, context: Context): Member {
  const deadlineMs = deadlineOf(member, context);
  if (deadlineMs === null || context.nowMs < deadlineMs) return member;
  if (member.status === 'suspended') return alive(member, context);
  const { nowMs } = context;
  const penalty = penaltyAt(member, nowMs) + 1;
  return { ...member, status: 'suspended', why: whyOf(member, context), sinceMs: nowMs, penalty, penaltyMs: nowMs };
}

const alive = (member: Member, { nowMs }: Context): Member => ({
  ...member,
  status: 'alive',
  why: '',
  sinceMs: nowMs,
  accusers: new Map(),
  returnMs: null,
});

const penaltyAt = ({ penalty, penaltyMs }: Member, nowMs: number): number =>
  penalty * 2 ** (-(nowMs - penaltyMs) / penaltyHalfLifeMs);

/** Accusers that saw as much or more: who sees a host answer does not confirm its silence. */
const accusersOf = ({ accusers }: Member, claim: Claim): number =>
  [...accusers.values()].filter((each) => strength[each] >= strength[claim]).length;

function whyOf(member: Member, { self }: Context): Why {
  const claims = [...member.accusers.values()];
  const strongest = claims.reduce<Claim>((best, each) => (strength[each] > strength[best] ? each : best), 'slow');
  const claim = member.accusers.get(self) ?? strongest;
  if (claim !== 'silent') return 'agent down';
  return accusersOf(member, 'silent') > 1 ? 'host down' : 'unreachable';
}
