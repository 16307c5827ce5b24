import type { z } from 'zod';
import type { RouteName } from '../../api/request-lines.ts';
import type { routes } from '../../api/routes.ts';

/** What a handler gets of a request; everything in it has passed the route's schema. */
export interface Call<N extends RouteName> {
  readonly ref: string;
  readonly body: z.output<(typeof routes)[N]['body']>;
  readonly query: ReadonlyMap<string, string>;
  /** Aborts when the client has gone. */
  readonly signal: AbortSignal;
}

type ReplyOf<N extends RouteName> = z.output<(typeof routes)[N]['reply']>;
export type Handlers = { readonly [N in RouteName]: (call: Call<N>) => Promise<ReplyOf<N>> | ReplyOf<N> };
