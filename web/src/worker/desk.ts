/** Something to do, which stops when the signal says so. */
export type Job = (signal: AbortSignal) => Promise<void>;

/** A desk with one job on it at a time. A new job takes the place of the one on it; idle times are for lesser jobs. */
export class Desk {
  private wanted: Job | null = null;
  private controller = new AbortController();
  private busy = false;

  /**
   * @param lesser the next job for an idle time, or null.
   * @param report what to do about errors, other than that a job was stopped.
   */
  constructor(
    private readonly lesser: () => Job | null,
    private readonly report: (error: unknown) => void,
  ) {}

  /** Do a job as soon as the one on the desk has stopped. One that was waiting is forgotten. */
  put(job: Job): void {
    this.wanted = job;
    this.stop();
    if (!this.busy) void this.work();
  }

  /** Stop the job on the desk. */
  stop(): void {
    this.controller.abort();
  }

  /** Do lesser jobs, if the desk is idle. */
  wake(): void {
    if (!this.busy) void this.work();
  }

  private async work(): Promise<void> {
    this.busy = true;
    for (let job = this.next(); job; job = this.next()) {
      this.controller = new AbortController();
      const { signal } = this.controller;
      try {
        await job(signal);
      } catch (error) {
        if (!signal.aborted) this.report(error);
      }
    }
    this.busy = false;
  }

  private next(): Job | null {
    const job = this.wanted ?? this.lesser();
    this.wanted = null;
    return job;
  }
}
