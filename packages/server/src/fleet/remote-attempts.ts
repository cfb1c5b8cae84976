import { ServiceError } from "../errors.js";
import type {
  AttemptEnd,
  AttemptJob,
  AttemptOutcome,
  AttemptRef,
  AttemptStart,
} from "../work/attempt-record.js";
import type { Checkpoint } from "../work/checkpoints.js";
import { type LedgerRecord, LedgerRecords, type LedgerTools } from "../work/ledger-record.js";
import {
  artifactBytes,
  type BeginAnswer,
  type CandidateBody,
  type EndAnswer,
  type FilesAnswer,
  type Report,
  type Reports,
  type Standing,
  type StandingAnswer,
} from "./protocol.js";

/** An attempt in progress. */
interface Open {
  readonly record: LedgerRecord;
  /** The number of the next report. */
  next: number;
}

/**
 * The attempts of workers on other machines. Each method handles a worker's request about one of its attempts, and
 * ignores it if the attempt is no longer the job's current one. Repeated requests have no further effect.
 */
export class RemoteAttempts {
  readonly #tools: LedgerTools;
  readonly #records: LedgerRecords;
  readonly #open = new Map<string, Open>();
  /** When the API last heard about the current attempt of a job. */
  readonly #heard = new Map<string, { readonly attempt: number; readonly at: number }>();

  constructor(tools: LedgerTools) {
    this.#tools = tools;
    this.#records = new LedgerRecords(tools);
  }

  /** Whether the worker of an attempt has been heard from within a time. */
  heard({ id, attempt }: Pick<AttemptRef, "id" | "attempt">, withinMs: number): boolean {
    const heard = this.#heard.get(id);
    return heard?.attempt === attempt && performance.now() - heard.at < withinMs;
  }

  /** Counts all running attempts as heard from now, so that workers have time to report after a restart. */
  expectAll(): void {
    for (const { id, attempt } of this.#tools.ledger.jobs.running()) this.#hear(id, attempt);
  }

  /** Forgets attempts that no longer run. */
  prune(): void {
    const runs = (id: string, attempt: number): boolean => {
      const job = this.#tools.ledger.jobs.find(id);
      return job?.state === "running" && job.attempt === attempt;
    };
    for (const [id, { record }] of this.#open) if (!runs(id, record.job.attempt)) this.#close(id);
    for (const [id, { attempt }] of this.#heard) if (!runs(id, attempt)) this.#heard.delete(id);
  }

  async begin(ref: AttemptRef): Promise<BeginAnswer> {
    const { id, attempt, worker } = ref;
    const known = this.#tools.ledger.jobs.attempt(id, attempt);
    const record =
      known?.worker === worker && this.standing(ref) !== "lost"
        ? this.#records.open(id)
        : await this.#records.begin(ref);
    if (!record) return { start: null };
    this.#close(id);
    this.#open.set(id, { record, next: 0 });
    this.#hear(id, attempt);
    return { start: startOf(record) };
  }

  /** @throws {ServiceError} `forbidden` for an attempt of another worker. */
  standing({ id, attempt, worker }: AttemptRef): Standing {
    const { jobs } = this.#tools.ledger;
    const job = jobs.find(id);
    if (!job) return "lost";
    if (jobs.attempt(id, attempt)?.worker !== worker)
      throw new ServiceError("forbidden", "This attempt is another worker's.");
    if (job.state !== "running" || job.attempt !== attempt) return "lost";
    this.#hear(id, attempt);
    return job.cancelRequested ? "cancelled" : "current";
  }

  /** @throws {ServiceError} `forbidden` */
  report(ref: AttemptRef, { first, reports }: Reports): StandingAnswer {
    const standing = this.standing(ref);
    if (standing === "lost") return { standing };
    const open = this.#opened(ref);
    for (const [index, report] of reports.entries()) {
      if (first + index < open.next) continue;
      this.#take(open.record, report);
      open.next = first + index + 1;
    }
    return { standing };
  }

  #take(record: LedgerRecord, report: Report): void {
    switch (report.type) {
      case "preview": {
        const { type: _, base64, ...facts } = report;
        record.previewed({ ...facts, bytes: Buffer.from(base64, "base64") });
        break;
      }
      case "resumed":
        // The number of the next report does not survive a restart; this event does.
        if (!this.#hasResumed(record.job)) record.resumed(report.step);
        break;
      case "began_anew":
        record.beganAnew();
        break;
      case "warning":
        record.warned(report.message);
        break;
      case "model_loaded":
        record.modelLoaded(report.seconds);
        break;
      default:
        record.progressed(report.type, report.data);
    }
  }

  #hasResumed({ id, attempt }: AttemptJob): boolean {
    return this.#tools.ledger.events
      .ofJob(id, 0)
      .some((event) => event.name === "resumed" && event.attempt === attempt);
  }

  /**
   * A picture or candidate of a job, for the worker that runs it.
   * @throws {ServiceError} `forbidden` for others, `damaged_file`
   */
  async picture(ref: AttemptRef, sha256: string): Promise<Uint8Array> {
    const { files } = this.#tools.ledger;
    const isOfJob =
      files.usesBlob(ref.id, sha256) || files.artifactsOf(ref.id).some((one) => one.sha256 === sha256);
    if (this.standing(ref) === "lost" || !isOfJob)
      throw new ServiceError("forbidden", "This picture belongs to no job that this worker runs.");
    return await this.#opened(ref).record.picture(sha256);
  }

  /** @throws {ServiceError} `forbidden` */
  async latestCheckpoint(ref: AttemptRef): Promise<Checkpoint | null> {
    return this.standing(ref) === "lost" ? null : await this.#opened(ref).record.latestCheckpoint();
  }

  /** @throws {ServiceError} `forbidden`, `disk_full` */
  async saveCheckpoint(ref: AttemptRef, checkpoint: Checkpoint): Promise<StandingAnswer> {
    const standing = this.standing(ref);
    if (standing !== "lost") await this.#opened(ref).record.saveCheckpoint(checkpoint);
    return { standing };
  }

  /**
   * Stores a file as it arrives.
   * @param sha256 the expected hash.
   * @throws {ServiceError} `forbidden`, `invalid_value` if the content differs, `disk_full`
   */
  async store(ref: AttemptRef, sha256: string, content: AsyncIterable<Uint8Array>): Promise<StandingAnswer> {
    const standing = this.standing(ref);
    if (standing === "lost") return { standing };
    const kept = await this.#opened(ref).record.keep(content, artifactBytes);
    if (kept.sha256 !== sha256)
      throw new ServiceError("invalid_value", "The file is not what its hash says; send it again.");
    return { standing: this.standing(ref) };
  }

  /** @throws {ServiceError} `forbidden` */
  async candidateMade(ref: AttemptRef, { candidate, step }: CandidateBody): Promise<FilesAnswer> {
    const standing = this.standing(ref);
    if (standing === "lost") return { standing, missing: [] };
    const { record } = this.#opened(ref);
    const missing = await record.missing([candidate.sha256]);
    const isKnown = this.#tools.ledger.files.artifactsOf(ref.id).some(({ name }) => name === candidate.name);
    if (missing.length === 0 && !isKnown) await record.candidateMade(candidate, step);
    return { standing, missing };
  }

  /**
   * Ends an attempt, once.
   * @throws {ServiceError} `forbidden`
   */
  async end(ref: AttemptRef, outcome: AttemptOutcome): Promise<EndAnswer> {
    if (this.standing(ref) === "lost") return { end: this.#earlierEnd(ref, outcome), missing: [] };
    const { record } = this.#opened(ref);
    if (outcome.state === "succeeded") {
      const missing = await record.missing(outcome.artifacts.map(({ sha256 }) => sha256));
      if (missing.length > 0) return { end: "unfinished", missing };
    }
    const end = await record.end(outcome);
    this.#close(ref.id);
    this.#heard.delete(ref.id);
    return { end, missing: [] };
  }

  /** How an attempt ended, for a worker that missed the answer; "lost" if it ended differently. */
  #earlierEnd({ id, attempt }: AttemptRef, { state }: AttemptOutcome): AttemptEnd {
    const outcome = this.#tools.ledger.jobs.attempt(id, attempt)?.outcome ?? null;
    if (outcome === "failed" && state === "crashed") return "ended";
    if (outcome !== state) return "lost";
    return state === "crashed" || state === "interrupted" ? "unfinished" : "ended";
  }

  #opened({ id, attempt }: AttemptRef): Open {
    const open = this.#open.get(id);
    if (open?.record.job.attempt === attempt) return open;
    this.#close(id);
    const opened = { record: this.#records.open(id), next: 0 };
    this.#open.set(id, opened);
    return opened;
  }

  #close(id: string): void {
    this.#open.get(id)?.record[Symbol.dispose]();
    this.#open.delete(id);
  }

  #hear(id: string, attempt: number): void {
    this.#heard.set(id, { attempt, at: performance.now() });
  }
}

/** Limits a record to what an attempt needs. */
function startOf({ job, candidates }: AttemptStart): AttemptStart {
  const { id, kind, attempt, request, load, model, previewEvery, seed, steps, step } = job;
  const facts: AttemptJob = { id, kind, attempt, request, load, model, previewEvery, seed, steps, step };
  return { job: facts, candidates };
}
