export interface IdlePolicy {
  /** Release the model after this long without a job. */
  readonly idleSeconds: number;
  /** Whether the system is short of memory; if so, the model is released at once. */
  readonly shortOfMemory: () => Promise<boolean>;
  /** How often to call `shortOfMemory`. */
  readonly pressureSeconds: number;
}

/** Node fires longer timers immediately. */
const longestTimerMs = 2 ** 31 - 1;

/** Asks whether memory is short. An error counts as no, because it would otherwise end this process. */
async function asked(shortOfMemory: IdlePolicy["shortOfMemory"]): Promise<boolean> {
  try {
    return await shortOfMemory();
  } catch {
    return false;
  }
}

/** Decides when an idle engine releases its model. Its timers do not keep the process alive. */
export class IdleWatch {
  readonly #policy: IdlePolicy;
  readonly #release: () => Promise<void>;
  #timers: { readonly idle: NodeJS.Timeout; readonly pressure: NodeJS.Timeout } | null = null;

  constructor(policy: IdlePolicy, release: () => Promise<void>) {
    this.#policy = policy;
    this.#release = release;
  }

  start(): void {
    if (this.#timers) return;
    const { idleSeconds, pressureSeconds, shortOfMemory } = this.#policy;
    const idle = setTimeout(() => void this.#release(), Math.min(idleSeconds * 1000, longestTimerMs)).unref();
    const pressure = setInterval(async () => {
      const short = await asked(shortOfMemory);
      // A job may have begun in the meantime.
      if (short && this.#timers) await this.#release();
    }, pressureSeconds * 1000).unref();
    this.#timers = { idle, pressure };
  }

  stop(): void {
    clearTimeout(this.#timers?.idle);
    clearInterval(this.#timers?.pressure);
    this.#timers = null;
  }
}
