/** Claims that wait for news. */
export class Waits {
  readonly #waiting = new Set<() => void>();
  #news = 0;
  #timer: NodeJS.Timeout | null = null;

  /** How much news there was. Read it before looking, and wait for more with {@link after}. */
  get news(): number {
    return this.#news;
  }

  /** Tells everybody, at once or after a delay in milliseconds. News meanwhile is told with it. */
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

  /** Waits for news after those, for a time at most, and while the signal is not aborted. */
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
