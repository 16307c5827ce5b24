import { RequestError } from '../api-error.ts';

const applyTimeoutMs = 20_000;

/**
 * Waits for the kernel to have what a request wants, in bounded time.
 * @throws RequestError what it refused, which is for the operator to read and not a fault of the agent, or that it took too long
 */
export async function kernelFollows(work: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
  const limit = AbortSignal.timeout(applyTimeoutMs);
  try {
    await work(limit);
  } catch (error) {
    if (!limit.aborted) throw kernelError(error);
    throw new RequestError(
      504,
      'kernel_timeout',
      `the kernel did not follow within ${applyTimeoutMs / 1000} s`,
      '`weft status` says what is pending; the agent goes on trying',
    );
  }
}

function kernelError(error: unknown): RequestError {
  const message = error instanceof Error ? error.message : String(error);
  return new RequestError(500, 'kernel_refused', message, '`weft status` lists what fails in the kernel');
}
