/** Where one kernel object stands between wanted and there. */
export type ObjectStatus =
  | { readonly state: 'ok' }
  | { readonly state: 'pending'; readonly why: string }
  | { readonly state: 'failed'; readonly why: string; readonly retryAt: number };
