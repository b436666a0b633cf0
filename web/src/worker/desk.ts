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

  /** Do a job as soon as the one on the desk has stopped. One that was waiting is forgotten. */
  put(job: Job): void {
    this.wanted = job;
    this.stop();
    this.wake();
  }

  /** Stop the job on the desk. */
  stop(): void {
    this.controller.abort();
  }

  /** Stop the job on the desk, forget the one that was waiting, and wait until the desk is free. */
  async clear(): Promise<void> {
    this.wanted = null;
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
