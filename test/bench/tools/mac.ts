/** The MAC of the endpoint with that number, as many as there can be: `02:42:`, as Docker begins them, and four bytes. */
export const macOf = (index: number): string => `02:42:${index.toString(16).padStart(8, '0').match(/../g)?.join(':')}`;
