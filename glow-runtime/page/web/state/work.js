// What the back end is asked, one thing at a time: the picture first, and of it only the newest; what can wait after.

/**
 * @typedef {(signal: AbortSignal) => Promise<void>} Run which may stop early when aborted
 */

export class Work {
  /** @param {(error: unknown) => void} onError */
  constructor(onError) {
    this.onError = onError;
    /** @type {Run | null} */
    this.first = null;
    /** By who asked: a new batch of the same owner replaces the old one. @type {{owner: string, run: Run}[]} */
    this.later = [];
    /** Of what runs and could wait. @type {AbortController | null} */
    this.interruptible = null;
    this.running = false;
  }

  /**
   * Replaces what is to be done first and has not begun: a drag leaves no queue behind.
   * @param {Run} run
   */
  newest(run) {
    this.first = run;
    this.interruptible?.abort();
    this.#start();
  }

  /**
   * Replaces what an owner wants done when there is nothing to do first.
   * @param {string} owner
   * @param {Run[]} runs
   */
  whenIdle(owner, runs) {
    this.later = this.later.filter((job) => job.owner !== owner);
    this.later.push(...runs.map((run) => ({ owner, run })));
    this.#start();
  }

  async #start() {
    if (this.running) return;
    this.running = true;
    for (;;) {
      const first = this.first;
      this.first = null;
      const run = first ?? this.later.shift()?.run;
      if (!run) break;
      const controller = new AbortController();
      this.interruptible = first ? null : controller;
      try {
        await run(controller.signal);
      } catch (error) {
        if (!controller.signal.aborted) this.onError(error);
      }
    }
    this.interruptible = null;
    this.running = false;
  }
}
