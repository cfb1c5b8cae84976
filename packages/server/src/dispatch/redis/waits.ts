/** Claims that wait for news. */
export class Waits {
  readonly #waiting = new Set<() => void>();
  #news = 0;
  #timer: NodeJS.Timeout | null = null;

  /** The number of news so far. Read it before looking, and wait for more with {@link after}. */
  get news(): number {
    return this.#news;
  }

  /** Wakes all waiting claims, at once or after a delay in milliseconds. News during the delay is included. */
  wake(delayMs = 0): void {
    if (delayMs >= 1 && this.#timer) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    if (delayMs < 1) this.#tell();
    else
      this.#timer = setTimeout(() => {
        this.#timer = null;
        this.#tell();
      }, delayMs);
  }

  /** Waits for news later than `news`, for at most `ms` milliseconds or until the signal aborts. */
  async after(news: number, ms: number, signal: AbortSignal): Promise<void> {
    if (this.#news !== news || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", end);
        this.#waiting.delete(end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal.addEventListener("abort", end, { once: true });
      this.#waiting.add(end);
    });
  }

  #tell(): void {
    this.#news++;
    for (const end of [...this.#waiting]) end();
  }
}
