/** Compares texts by their UTF-16 code units, for `sort`: the same on every host, whatever its locale. */
export const order = (a: string, b: string): number => (a < b ? -1 : Number(a > b));
