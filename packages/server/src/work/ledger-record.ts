import type { FileStore, StoredFile } from "../blobs/file-store.js";
import type { ErrorObject, EventData } from "../contract/index.js";
import { ServiceError } from "../errors.js";
import type { History } from "../history/history.js";
import { candidateArtifact } from "../history/job-object.js";
import type { Preview, ProgressName } from "../history/live.js";
import type { ArtifactRecord } from "../ledger/files.js";
import type { JobRecord } from "../ledger/jobs.js";
import type { Ledger } from "../ledger/ledger.js";
import { errorObjectOf } from "../requests/failure.js";
import type {
  AttemptEnd,
  AttemptJob,
  AttemptOutcome,
  AttemptRecord,
  AttemptRecords,
  AttemptRef,
  KeptFile,
} from "./attempt-record.js";
import type { Checkpoint, Checkpoints } from "./checkpoints.js";

/** What recording attempts in this process needs. */
export interface LedgerTools {
  readonly ledger: Ledger;
  readonly history: History;
  readonly files: FileStore;
  readonly checkpoints: Checkpoints;
}

/** A job fails after this many crashes of the engine in a row without a new checkpoint. */
const mostCrashes = 3;

const crashedTooOften: ErrorObject = errorObjectOf(
  new ServiceError(
    "engine_crashed",
    `The engine crashed ${mostCrashes} times on this job, probably because memory ran out; try a smaller size, or fewer bits (load.quantize).`,
  ),
);

/** Records attempts in the ledger of this process. */
export class LedgerRecords implements AttemptRecords {
  readonly #tools: LedgerTools;

  constructor(tools: LedgerTools) {
    this.#tools = tools;
  }

  async begin({ id, attempt, worker }: AttemptRef): Promise<LedgerRecord | null> {
    return this.#tools.history.started(id, attempt, worker) ? this.open(id) : null;
  }

  /** The record of a job's current attempt. */
  open(id: string): LedgerRecord {
    return new LedgerRecord(this.#tools, this.#tools.ledger.jobs.find(id)!);
  }

  async recover({ id, attempt }: AttemptRef): Promise<void> {
    interrupt(this.#tools, id, attempt);
  }
}

/** The record of one attempt in the ledger of this process. */
export class LedgerRecord implements AttemptRecord {
  readonly #tools: LedgerTools;
  /** Files that the ledger does not know yet. */
  readonly #kept: StoredFile[] = [];
  readonly job: AttemptJob;
  readonly candidates: readonly ArtifactRecord[];
  /** Never aborts: cancelling a job of this process goes through its claim. */
  readonly signal: AbortSignal = new AbortController().signal;

  constructor(tools: LedgerTools, job: JobRecord) {
    this.#tools = tools;
    this.job = job;
    this.candidates = candidatesAmong(tools.ledger.files.artifactsOf(job.id));
  }

  async isCurrent(): Promise<boolean> {
    const { id, attempt } = this.job;
    const job = this.#tools.ledger.jobs.find(id);
    return job?.state === "running" && job.attempt === attempt;
  }

  picture(sha256: string): Promise<Uint8Array> {
    return this.#tools.files.read(sha256);
  }

  latestCheckpoint(): Promise<Checkpoint | null> {
    return this.#tools.checkpoints.latest(this.job.id);
  }

  progressed<Name extends ProgressName>(name: Name, data: EventData[Name]): void {
    this.#tools.history.progressed(this.job.id, this.job.attempt, name, data);
  }

  previewed(preview: Preview): void {
    this.#tools.history.previewed(this.job.id, this.job.attempt, preview);
  }

  resumed(step: number): void {
    this.#tools.history.resumed(this.job.id, this.job.attempt, step);
  }

  beganAnew(): void {
    this.#tools.history.beganAnew(this.job.id, this.job.attempt);
  }

  warned(message: string): void {
    this.#tools.history.warned(this.job.id, this.job.attempt, message);
  }

  modelLoaded(seconds: number): void {
    this.#tools.history.modelLoaded(seconds);
  }

  async saveCheckpoint(checkpoint: Checkpoint): Promise<void> {
    const { checkpoints, history } = this.#tools;
    const { id, attempt } = this.job;
    await checkpoints.save(id, attempt, checkpoint);
    history.checkpointed(id, attempt, checkpoint.step);
  }

  /** @param limit the maximum number of bytes. */
  async keep(content: Uint8Array | AsyncIterable<Uint8Array>, limit?: number): Promise<KeptFile> {
    const stored = await this.#tools.files.add(content, limit === undefined ? {} : { limit });
    this.#kept.push(stored);
    return { sha256: stored.sha256, bytes: stored.bytes };
  }

  /** Holds files that were stored before this process started. @returns the hashes of missing ones. */
  async missing(files: Iterable<string>): Promise<readonly string[]> {
    const missing: string[] = [];
    for (const sha256 of files) {
      const stored = await this.#tools.files.hold(sha256);
      if (stored) this.#kept.push(stored);
      else missing.push(sha256);
    }
    return missing;
  }

  async candidateMade(candidate: ArtifactRecord, step: number): Promise<void> {
    this.#tools.history.candidateMade(this.job.id, this.job.attempt, candidate, step);
  }

  async end(outcome: AttemptOutcome): Promise<AttemptEnd> {
    const end = this.#end(outcome);
    // First, because listeners may delete the job as soon as they hear of its end.
    this[Symbol.dispose]();
    if (end === "ended") await this.#tools.checkpoints.remove(this.job.id);
    return end;
  }

  [Symbol.dispose](): void {
    for (const file of this.#kept.splice(0)) file[Symbol.dispose]();
  }

  #end(outcome: AttemptOutcome): AttemptEnd {
    const { history, ledger } = this.#tools;
    const { id, attempt } = this.job;
    if (outcome.state === "interrupted") return interrupt(this.#tools, id, attempt);
    if (outcome.state !== "crashed") return history.finished(id, attempt, outcome) ? "ended" : "lost";
    const { crashes = 0 } = ledger.jobs.find(id) ?? {};
    if (crashes + 1 < mostCrashes) return history.interrupted(id, attempt, "crashed") ? "unfinished" : "lost";
    return history.finished(id, attempt, { state: "failed", error: crashedTooOften }) ? "ended" : "lost";
  }
}

/** Puts a job back into the queue, or ends it if it was to be cancelled. */
export function interrupt(
  { history, ledger }: Pick<LedgerTools, "history" | "ledger">,
  id: string,
  attempt: number,
): AttemptEnd {
  if (!history.interrupted(id, attempt, "interrupted")) return "lost";
  if (!ledger.jobs.find(id)?.cancelRequested) return "unfinished";
  return history.cancelledQueued(id) ? "ended" : "lost";
}

/** Those artifacts of a job that are images of a run in progress. */
function candidatesAmong(artifacts: readonly ArtifactRecord[]): readonly ArtifactRecord[] {
  const candidates: ArtifactRecord[] = [];
  for (;;) {
    const name = candidateArtifact(candidates.length + 1);
    const next = artifacts.find((one) => one.name === name);
    if (!next) return candidates;
    candidates.push(next);
  }
}
