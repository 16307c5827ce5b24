import type { Knock } from '../mesh/transport.ts';

/** What one look at a node brought. */
export interface Evidence {
  /** It answered a ping, or anything of it arrived. */
  readonly heard: boolean;
  /** What its kernel said to a new connection. */
  readonly knock: Knock;
  /** Whether its VTEP answered an ICMP echo; null where that cannot be asked. */
  readonly host: boolean | null;
  /** The best that helpers saw; null when there were none. */
  readonly helpers: Sight | null;
  /** Its host has answered a knock or an echo of ours before, so that silence means something. */
  readonly proven: boolean;
}

/** What a helper tells: the agent answers it, only its host does, nothing does. */
export type Sight = 'agent' | 'host' | 'nothing';

/** `indirect`: it lives, and the way from here to it does not. */
export type Verdict = 'answers' | 'indirect' | 'refused' | 'silent' | 'slow';

export function judge({ heard, knock, host, helpers, proven }: Evidence): Verdict {
  if (heard) return 'answers';
  // A reset comes from the kernel of that host, so the host is up, whatever becomes of its echo.
  if (knock === 'refused') return 'refused';
  if (helpers === 'agent') return 'indirect';
  if (knock === 'accepted' || host === true || helpers === 'host') return 'slow';
  return proven ? 'silent' : 'slow';
}

/** What a helper tells of its own look. */
export function sightOf({ heard, knock, host }: Pick<Evidence, 'heard' | 'knock' | 'host'>): Sight {
  if (heard) return 'agent';
  return knock !== 'silent' || host === true ? 'host' : 'nothing';
}

/** The way from here to the node carries nothing, whoever else may reach it: a connection over it is dead. */
export const isCut = ({ heard, knock, host }: Evidence): boolean => !heard && knock === 'silent' && host !== true;
