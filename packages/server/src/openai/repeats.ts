/*
 * Matches repeated requests of OpenAI's clients with their jobs. These clients repeat a request if they got no answer,
 * and say so; a repeat gets the jobs of the first request, even after a restart of the server.
 */
import type { JobObject } from "../contract/index.js";
import { ServiceError } from "../errors.js";
import type { JobService } from "../jobs/service.js";

/** How long a repeat finds jobs that have finished. */
const memoryMs = 10 * 60_000;

/** How a client left: with its images, with a refusal, or without an answer. */
export type Parting = "finished" | "failed" | "left";

interface ImageRequest {
  readonly content: string;
  readonly jobs: readonly string[];
  /** Clients that wait for the jobs. */
  waiting: number;
  /** The timer that cancels or forgets the jobs. */
  timer: NodeJS.Timeout | undefined;
}

export class Repeats {
  readonly #service: JobService;
  readonly #graceMs: number;
  readonly #requests = new Map<string, ImageRequest>();

  /**
   * Loads the requests of the previous process: their clients may come back, and count as having just left.
   * @param graceMs how long jobs continue after their client has left.
   */
  constructor(service: JobService, graceMs = 60_000) {
    this.#service = service;
    this.#graceMs = graceMs;
    for (const record of service.imageRequests.all()) {
      const request: ImageRequest = { ...record, waiting: 0, timer: undefined };
      this.#requests.set(record.content, request);
      this.#waitForReturn(request);
    }
  }

  /**
   * Starts jobs for a request, or attaches a repeat to those of the first one. Call `leave` when the client leaves.
   * @param content a hash of the request.
   */
  async join(
    content: string,
    isRepeat: boolean,
    start: () => Promise<readonly string[]>,
  ): Promise<{ readonly jobs: readonly string[]; readonly leave: (parting: Parting) => void }> {
    const known = isRepeat ? this.#requests.get(content) : undefined;
    const request =
      known && this.#jobsOf(known) !== null ? known : this.#add({ content, jobs: await start() });
    clearTimeout(request.timer);
    request.waiting++;
    return { jobs: request.jobs, leave: (parting) => this.#leave(request, parting) };
  }

  /** Ends all waits, so that the process can end. The next process loads the requests. */
  close(): void {
    for (const { timer } of this.#requests.values()) clearTimeout(timer);
    this.#requests.clear();
  }

  #add(record: Pick<ImageRequest, "content" | "jobs">): ImageRequest {
    this.#service.imageRequests.put(record);
    const request: ImageRequest = { ...record, waiting: 0, timer: undefined };
    this.#requests.set(record.content, request);
    return request;
  }

  #leave(request: ImageRequest, parting: Parting): void {
    request.waiting--;
    // After a failure, a repeat starts anew.
    if (parting === "failed") this.#forget(request);
    if (request.waiting > 0) return;
    // The other images of the request are no longer wanted.
    if (parting === "failed") this.#cancelAll(request);
    else if (parting === "left") this.#waitForReturn(request);
    else this.#forgetLater(request, memoryMs);
  }

  /** Lets the jobs continue for a while, then cancels those that have not finished. */
  #waitForReturn(request: ImageRequest): void {
    request.timer = setTimeout(() => {
      const jobs = this.#jobsOf(request);
      // A repeat can use finished jobs as if the client had stayed.
      if (jobs?.every(({ state }) => state === "succeeded")) {
        const end = Math.max(...jobs.map(({ finished_at }) => Date.parse(finished_at!)));
        this.#forgetLater(request, end + memoryMs - Date.now());
        return;
      }
      this.#forget(request);
      this.#cancelAll(request);
    }, this.#graceMs).unref();
  }

  #forgetLater(request: ImageRequest, ms: number): void {
    request.timer = setTimeout(() => this.#forget(request), Math.max(0, ms)).unref();
  }

  #forget({ content, jobs }: ImageRequest): void {
    // A newer request may have taken its place.
    if (this.#requests.get(content)?.jobs !== jobs) return;
    this.#requests.delete(content);
    this.#service.imageRequests.remove(content);
  }

  /** Cancels the jobs that have not finished. */
  #cancelAll({ jobs }: ImageRequest): void {
    for (const id of jobs) this.#service.cancel(id).catch(() => {});
  }

  /** Null if one of them was deleted. */
  #jobsOf({ jobs }: ImageRequest): readonly JobObject[] | null {
    try {
      return jobs.map((id) => this.#service.get(id));
    } catch (error) {
      if (error instanceof ServiceError && error.code === "not_found") return null;
      throw error;
    }
  }
}
