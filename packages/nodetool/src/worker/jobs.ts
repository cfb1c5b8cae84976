/*
 * Jobs of the host: a job is a workflow's run, and each of our runs is one node of it. A host may end a job that it
 * never started here; when its user presses Stop, it sends nothing but the end of the job.
 */
import type { FrameData } from "./frames.js";

export interface JobRun {
  readonly controller: AbortController;
  /** The node's id in its workflow; blank if the host sent none. */
  readonly node: string;
}

interface Job {
  readonly running: Set<JobRun>;
  readonly nodes: Set<string>;
}

/** Beyond this number, forget the oldest jobs that their hosts never ended. */
const mostJobs = 10_000;

export class Jobs {
  readonly #jobs = new Map<string, Job>();

  /** Answers `job.start`. @throws if `job_id` is missing. */
  start(data: FrameData): { job_id: string; started: true } {
    const id = idOf(data);
    this.#job(id);
    return { job_id: id, started: true };
  }

  /** Adds a run to a job. @returns a function to call when the run has ended. */
  enter(id: string, run: JobRun): () => void {
    const { running, nodes } = this.#job(id);
    running.add(run);
    if (run.node !== "") nodes.add(run.node);
    return () => running.delete(run);
  }

  /** Answers `job.end`: cancels running and waiting runs. @throws if `job_id` is missing. */
  end(data: FrameData): { job_id: string; released_nodes: string[]; known: boolean } {
    const id = idOf(data);
    const job = this.#jobs.get(id);
    this.#jobs.delete(id);
    for (const { controller } of job?.running ?? []) controller.abort(new Error("cancelled"));
    return { job_id: id, released_nodes: [...(job?.nodes ?? [])], known: job !== undefined };
  }

  #job(id: string): Job {
    const job = this.#jobs.get(id) ?? { running: new Set(), nodes: new Set() };
    this.#jobs.set(id, job);
    for (const [oldest, { running }] of this.#jobs) {
      if (this.#jobs.size <= mostJobs) break;
      if (running.size === 0 && oldest !== id) this.#jobs.delete(oldest);
    }
    return job;
  }
}

function idOf({ job_id: id }: FrameData): string {
  if (typeof id !== "string" || id === "") throw new Error("job_id must be a non-empty string.");
  return id;
}
