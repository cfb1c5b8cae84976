import type { JobEvent } from "../contract/index.js";
import type { StreamEvent } from "./stream-event.js";

type Listener<Event> = (event: Event) => void;

/** Hands live events to those who listen. What happens to a job does not depend on how they fare. */
export class EventHub {
  readonly #onError: (error: unknown) => void;
  readonly #ofJobs = new Map<string, Set<Listener<JobEvent>>>();
  readonly #ofAll = new Set<Listener<StreamEvent>>();

  /** @param onError told what listeners throw. */
  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  /** @returns a function that ends the subscription. */
  subscribe(jobId: string, listener: Listener<JobEvent>): () => void {
    const listeners = this.#ofJobs.get(jobId) ?? new Set();
    this.#ofJobs.set(jobId, listeners);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#ofJobs.get(jobId) === listeners) this.#ofJobs.delete(jobId);
    };
  }

  /** @returns a function that ends the subscription. */
  subscribeToAll(listener: Listener<StreamEvent>): () => void {
    this.#ofAll.add(listener);
    return () => this.#ofAll.delete(listener);
  }

  /** Whether anybody would receive an event of a job. */
  hears(jobId: string): boolean {
    return this.#ofAll.size > 0 || this.#ofJobs.has(jobId);
  }

  publish(event: JobEvent): void {
    this.#call(this.#ofJobs.get(event.data.job) ?? [], event);
    const { id } = event;
    this.publishToAll({ ...event, data: { ...event.data, event_id: id } } as StreamEvent);
  }

  /** Publishes an event that belongs to no job. */
  publishToAll(event: StreamEvent): void {
    this.#call(this.#ofAll, event);
  }

  #call<Event>(listeners: Iterable<Listener<Event>>, event: Event): void {
    // Listeners may leave while they are called.
    for (const listener of [...listeners])
      try {
        listener(event);
      } catch (error) {
        this.#onError(error);
      }
  }
}
