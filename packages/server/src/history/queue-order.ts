/** The facts that determine a queued job's place. */
export interface QueuedJob {
  readonly id: string;
  readonly priority: number;
  readonly arrival: number;
  /** The number of its last attempt. */
  readonly attempt: number;
}

/** A queued job, and how many jobs are ahead of it. */
export interface Place extends QueuedJob {
  readonly position: number;
}

interface Entry extends QueuedJob {
  /** The position that its readers know; null if they know none. */
  told: number | null;
}

/**
 * The queued jobs in the order in which they start: the ledger's, kept in memory, so that the place of one of many
 * thousands is found without counting them.
 */
export class QueueOrder {
  readonly #line: Entry[] = [];
  readonly #byId = new Map<string, Entry>();
  /** Where {@link nextMoved} looks next. */
  #cursor = 0;

  /** @param jobs in their order. */
  constructor(jobs: Iterable<QueuedJob>) {
    for (const { id, priority, arrival, attempt } of jobs) {
      const entry = { id, priority, arrival, attempt, told: null };
      this.#line.push(entry);
      this.#byId.set(id, entry);
    }
  }

  /** How many jobs are queued. */
  get size(): number {
    return this.#line.length;
  }

  /** How many jobs start before one, whether that is queued yet or not. */
  ahead({ priority, arrival }: Pick<QueuedJob, "priority" | "arrival">): number {
    let [low, high] = [0, this.#line.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const entry = this.#line[middle]!;
      const isBefore = entry.priority === priority ? entry.arrival < arrival : entry.priority > priority;
      if (isBefore) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The number of queued jobs ahead of one; null if it is not queued. */
  positionOf(id: string): number | null {
    const entry = this.#byId.get(id);
    return entry ? this.ahead(entry) : null;
  }

  /** Puts a job into its place, or moves it there. @param told the position that its readers know. */
  put({ id, priority, arrival, attempt }: QueuedJob, told: number | null = null): void {
    const known = this.#byId.get(id);
    this.remove(id);
    const entry = { id, priority, arrival, attempt, told: told ?? known?.told ?? null };
    this.#line.splice(this.ahead(entry), 0, entry);
    this.#byId.set(id, entry);
  }

  remove(id: string): void {
    const entry = this.#byId.get(id);
    if (!entry) return;
    this.#byId.delete(id);
    this.#line.splice(this.ahead(entry), 1);
  }

  /** Notes which position the readers of a job know. */
  told(id: string, position: number | null): void {
    const entry = this.#byId.get(id);
    if (entry) entry.told = position;
  }

  /** The jobs among `ids` that are queued and have moved since their readers were last told. */
  *moved(ids: Iterable<string>): Generator<Place> {
    for (const id of ids) {
      const entry = this.#byId.get(id);
      const position = entry && this.ahead(entry);
      if (entry && position !== undefined && entry.told !== position) yield { ...entry, position };
    }
  }

  /** Up to `most` jobs whose readers know another position, continuing after the ones returned last. */
  *nextMoved(most: number): Generator<Place> {
    const { length } = this.#line;
    for (let looked = 0, found = 0; looked < length && found < most; looked++) {
      const position = this.#cursor++ % length;
      if (this.#cursor >= length) this.#cursor = 0;
      const entry = this.#line[position]!;
      if (entry.told === position) continue;
      found++;
      yield { ...entry, position };
    }
  }
}
