import type { JobEvent } from "../contract/index.js";
import { forAll, type StreamEvent } from "./stream-event.js";

type Listener<Event> = (event: Event) => void;

/** Passes live events to listeners. Failing listeners do not affect jobs. */
export class EventHub {
  readonly #onError: (error: unknown) => void;
  readonly #ofJobs = new Map<string, Set<Listener<JobEvent>>>();
  readonly #ofAll = new Set<Listener<StreamEvent>>();
  readonly #observers = new Set<Listener<StreamEvent>>();

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

  /** Like {@link subscribeToAll}, without changes of position. */
  observe(listener: Listener<StreamEvent>): () => void {
    this.#observers.add(listener);
    return () => this.#observers.delete(listener);
  }

  /** Whether anybody would receive an event of a job. */
  hears(jobId: string): boolean {
    return this.#ofAll.size > 0 || this.#observers.size > 0 || this.#ofJobs.has(jobId);
  }

  /** Whether somebody follows all jobs, and their places in the queue. */
  get followsAll(): boolean {
    return this.#ofAll.size > 0;
  }

  /** The jobs that somebody follows one by one. */
  get followed(): Iterable<string> {
    return this.#ofJobs.keys();
  }

  publish(event: JobEvent): void {
    this.#publishToFollowers(event);
    if (this.#observers.size > 0) this.#call(this.#observers, forAll(event));
  }

  /** Publishes that a waiting job has another place. */
  publishPlace(event: JobEvent): void {
    this.#publishToFollowers(event);
  }

  /** Publishes an event that belongs to no job. */
  publishToAll(event: StreamEvent): void {
    this.#call(this.#ofAll, event);
    this.#call(this.#observers, event);
  }

  #publishToFollowers(event: JobEvent): void {
    this.#call(this.#ofJobs.get(event.data.job) ?? [], event);
    if (this.#ofAll.size > 0) this.#call(this.#ofAll, forAll(event));
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
