/**
 * Accounts for some work that is done, in any unit: reports the share of all work, lets other messages be handled, and
 * rejects if the work is to stop.
 */
export type Pace = (work: number) => Promise<void>;

/**
 * Makes a pace.
 *
 * @param total all of the work.
 * @param signal stops the work, with its reason.
 * @param onProgress receives the share of the work that is done, from 0 to 1, which never falls.
 */
export function makePace(total: number, signal?: AbortSignal, onProgress?: (share: number) => void): Pace {
  let done = 0;
  signal?.throwIfAborted();
  return async (work) => {
    done += work;
    if (work) onProgress?.(Math.min(1, done / total));
    await new Promise((resolve) => setTimeout(resolve)); // only then are messages handled, such as to stop
    signal?.throwIfAborted();
  };
}
