/** Something to do, which stops when the signal says so. */
export type Job = (signal: AbortSignal) => Promise<void>;

/** A desk with one job on it at a time. A new job takes the place of the one on it; idle times are for lesser jobs. */
export class Desk {
  private wanted: Job | null = null;
  private controller = new AbortController();
  private working: Promise<void> | null = null;

  /**
   * @param lesser the next job for an idle time, or null.
   * @param report what to do about errors, other than that a job was stopped.
   */
  constructor(
    private readonly lesser: () => Job | null,
    private readonly report: (error: unknown) => void,
  ) {}

  /** Do a job as soon as the one on the desk has stopped. */
  put(job: Job): void {
    this.stop();
    this.wanted = job;
    this.wake();
  }

  /** Stop the job on the desk, and the one that waits, which is called all the same: whoever wanted it has to know. */
  stop(): void {
    const waiting = this.wanted;
    this.wanted = null;
    this.controller.abort();
    void waiting?.(AbortSignal.abort());
  }

  /** Stop all jobs, and wait until the desk is free. */
  async clear(): Promise<void> {
    this.stop();
    await this.working;
  }

  /** Do lesser jobs, if the desk is idle. */
  wake(): void {
    this.working ??= this.work();
  }

  private async work(): Promise<void> {
    await null; // so that `working` is set before it is reset
    for (let job = this.next(); job; job = this.next()) {
      this.controller = new AbortController();
      const { signal } = this.controller;
      try {
        await job(signal);
      } catch (error) {
        if (!signal.aborted) this.report(error);
      }
    }
    this.working = null;
  }

  private next(): Job | null {
    const job = this.wanted ?? this.lesser();
    this.wanted = null;
    return job;
  }
}
