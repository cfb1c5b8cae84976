export interface IdlePolicy {
  /** Release the model after this long without a job. */
  readonly idleSeconds: number;
  /** Tells whether the system is short of memory; if it is, the model is released at once. */
  readonly shortOfMemory: () => Promise<boolean>;
  /** How often to ask that. */
  readonly pressureSeconds: number;
}

/** Node fires longer timers immediately. */
const longestTimerMs = 2 ** 31 - 1;

/** Asks whether memory is short; an error means no, because it would end this process otherwise. */
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
