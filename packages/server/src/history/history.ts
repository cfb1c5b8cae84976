import type { ErrorObject, EventData, JobEvent, JobObject } from "../contract/index.js";
import { ServiceError } from "../errors.js";
import type { Duration } from "../ledger/durations.js";
import type { EventRecord } from "../ledger/events.js";
import type { ArtifactRecord } from "../ledger/files.js";
import { isId } from "../ledger/ids.js";
import type { FinalState, Interruption, JobRecord, NewJob } from "../ledger/jobs.js";
import type { Ledger } from "../ledger/ledger.js";
import { EventHub } from "./event-hub.js";
import { jobObjectOf } from "./job-object.js";
import { LiveAttempt, type Preview, type ProgressName } from "./live.js";
import { type QueuedJob, QueueOrder } from "./queue-order.js";
import { forAll, type StreamEvent } from "./stream-event.js";
import { previewUrl } from "./urls.js";

/** Something worth measuring or counting, as it happens. */
export type Measurement =
  /** A worker has begun an attempt; one was silent, and its job goes to another. */
  | { readonly name: "claim" | "takeover" }
  | { readonly name: "queue_wait" | "model_load" | "step"; readonly seconds: number }
  | { readonly name: "job"; readonly outcome: FinalState; readonly seconds: number };

export interface HistoryOptions {
  /** Called with durations. */
  readonly onMeasurement?: ((measurement: Measurement) => void) | undefined;
  readonly onProblem?: ((message: string, error: unknown) => void) | undefined;
}

/** How a job ends. */
export interface JobEnd {
  readonly state: FinalState;
  readonly step?: number | undefined;
  readonly error?: ErrorObject;
  readonly artifacts?: readonly ArtifactRecord[];
  /** What was measured, for estimates of other jobs. */
  readonly duration?: Duration & { readonly workload: string };
}

/** How often positions in the queue are told again. */
const positionMs = 1000;

/** The most positions that followers of all jobs are told at once; the rest follow in later rounds. */
const mostPositions = 500;

/** How many past events of the stream of all jobs are read at a time. */
const pastPage = 1000;

/**
 * What happens to jobs: each method changes the ledger and tells those who listen, in this order. Whatever an old
 * attempt reports is dropped, and the method returns false.
 */
export class History {
  readonly #ledger: Ledger;
  readonly #measure: (measurement: Measurement) => void;
  readonly hub: EventHub;
  readonly #live = new Map<string, LiveAttempt>();
  readonly #queue: QueueOrder;
  readonly #timer: NodeJS.Timeout;

  constructor(ledger: Ledger, { onMeasurement = () => {}, onProblem = () => {} }: HistoryOptions = {}) {
    this.#ledger = ledger;
    this.#measure = onMeasurement;
    this.hub = new EventHub((error) => onProblem("A listener to events failed.", error));
    this.#queue = new QueueOrder(ledger.jobs.places("queued"));
    this.#timer = setInterval(() => this.#tellPositions(), positionMs);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  // ---------------------------------------------------------------- reading

  /** @throws {ServiceError} `not_found` */
  find(id: string): JobRecord {
    const job = isId(id) ? this.#ledger.jobs.find(id) : null;
    if (!job) throw new ServiceError("not_found", "No job has this id; it may have been deleted.");
    return job;
  }

  object(job: JobRecord): JobObject {
    const live = this.#live.get(job.id);
    return jobObjectOf(job, {
      artifacts: job.state === "succeeded" ? this.#ledger.files.artifactsOf(job.id) : [],
      position: job.state === "queued" ? this.#queue.positionOf(job.id) : null,
      step: live && live.attempt === job.attempt && job.state === "running" ? live.step : null,
    });
  }

  /** How many jobs are queued. */
  get queued(): number {
    return this.#queue.size;
  }

  /** The latest preview of a running job. */
  previewOf(id: string): Preview | null {
    return this.#live.get(id)?.preview ?? null;
  }

  /** Events of a job after an id, oldest first. */
  past(id: string, after: number): readonly JobEvent[] {
    const durable = this.#ledger.events.ofJob(id, after).map((record) => this.#jobEvent(record));
    // A reader of these events is told a waiting job's place unless they contain it.
    const told = durable.findLast((event) => event.event === "queued");
    this.#queue.told(id, told?.event === "queued" ? told.data.position : null);
    const live = this.#live.get(id)?.events.filter((event) => event.id > after) ?? [];
    return [...durable, ...live].sort((a, b) => a.id - b.id);
  }

  /** The first events of all jobs after an id, oldest first; `complete` when there are no more. */
  pastOfAll(after: number): { readonly past: readonly StreamEvent[]; readonly complete: boolean } {
    const records = this.#ledger.events.ofAll(after, pastPage);
    const durable = records.flatMap((record) => this.#streamEvent(record));
    if (records.length === pastPage) return { past: durable, complete: false };
    const live = [...this.#live.values()]
      .flatMap(({ events }) => events)
      .filter(({ id }) => id > after)
      .map(forAll);
    return { past: [...durable, ...live].sort((a, b) => a.id - b.id), complete: true };
  }

  // ---------------------------------------------------------------- what clients do

  submitted(job: NewJob, blobs: readonly string[]): JobRecord {
    const { id, priority } = job;
    return this.#record(id, () => {
      const place = { id, priority, arrival: this.#ledger.jobs.insert(job), attempt: 0 };
      for (const sha256 of blobs) this.#ledger.files.useBlob(id, sha256);
      const { event, enter } = this.#queuedAt(place);
      const events = [event];
      for (const message of job.warnings) events.push(this.#durable(id, 0, "warning", { message }));
      return { events, after: enter };
    })!;
  }

  /** Cancels a queued job. @returns false if it is not queued. */
  cancelledQueued(id: string, now: number = Date.now()): boolean {
    const job = this.#record(id, () => {
      const attempt = this.#ledger.jobs.find(id)?.attempt ?? 0;
      if (!this.#ledger.jobs.cancelQueued(id, now)) return false;
      this.#ledger.files.removeArtifacts(id);
      const events = [this.#durable(id, attempt, "cancelled", {})];
      return { events, after: () => this.#queue.remove(id) };
    });
    return job !== null;
  }

  cancelRequested(id: string): boolean {
    return this.#record(id, () => this.#ledger.jobs.requestCancel(id) && [this.#updated(id)]) !== null;
  }

  starred(id: string, starred: boolean): boolean {
    return this.#record(id, () => this.#ledger.jobs.setStarred(id, starred) && [this.#updated(id)]) !== null;
  }

  /** @returns false if the job is not queued. */
  prioritized(id: string, priority: number): boolean {
    return (
      this.#record(id, () => {
        if (!this.#ledger.jobs.setPriority(id, priority)) return false;
        const events = [this.#updated(id)];
        return { events, after: () => this.#queue.put(this.find(id)) };
      }) !== null
    );
  }

  /** Deletes a finished job. @returns false if it has not finished. */
  deleted(id: string, now: number = Date.now()): boolean {
    const event = this.#ledger.write(() => {
      this.#ledger.files.releaseBlobs(id, now);
      return (
        this.#ledger.jobs.remove(id) &&
        this.#insert({ jobId: null, name: "deleted", attempt: 0, data: { job: id } })
      );
    });
    if (event) this.#publish(event);
    return event !== false;
  }

  queueChanged(paused: boolean): void {
    const event = this.#ledger.write(() => {
      this.#ledger.settings.paused = paused;
      return this.#insert({ jobId: null, name: "queue", attempt: 0, data: { paused } });
    });
    this.#publish(event);
  }

  // ---------------------------------------------------------------- what attempts do

  started(id: string, attempt: number, worker: string, now: number = Date.now()): boolean {
    const job = this.#record(id, () => {
      if (!this.#ledger.jobs.start(id, attempt, worker, now)) return false;
      const events = [this.#durable(id, attempt, "started", { worker })];
      return { events, after: () => this.#queue.remove(id) };
    });
    if (!job) return false;
    this.#live.set(id, new LiveAttempt(attempt, job.step));
    this.#measure({ name: "claim" });
    if (attempt === 1) this.#measure({ name: "queue_wait", seconds: (now - job.createdAt) / 1000 });
    return true;
  }

  /** An attempt goes on in another process, after this one was started anew. */
  goesOn({ id, attempt, step }: JobRecord): void {
    this.#live.set(id, new LiveAttempt(attempt, step));
  }

  /** The attempt continues from a step of an earlier one. */
  resumed(id: string, attempt: number, step: number): boolean {
    const job = this.#record(
      id,
      () =>
        this.#ledger.jobs.setStep(id, attempt, step) && [
          this.#durable(id, attempt, "resumed", { from_step: step }),
        ],
    );
    const live = this.#liveOf(id, attempt);
    if (live) live.step = step;
    return job !== null;
  }

  /** The attempt begins with the first step, because nothing fits to continue from. */
  beganAnew(id: string, attempt: number): boolean {
    const live = this.#liveOf(id, attempt);
    if (live) live.step = 0;
    return this.#ledger.write(() => this.#ledger.jobs.setStep(id, attempt, 0));
  }

  /** One of several images is stored: a later attempt continues after it. @param step the last one of this image. */
  candidateMade(id: string, attempt: number, candidate: ArtifactRecord, step: number): boolean {
    return this.#ledger.write(() => {
      if (!this.#ledger.jobs.checkpoint(id, attempt, step)) return false;
      this.#ledger.files.addArtifact(id, candidate);
      return true;
    });
  }

  warned(id: string, attempt: number, message: string): boolean {
    return (
      this.#record(
        id,
        () =>
          this.#ledger.jobs.warn(id, attempt, message) && [
            this.#durable(id, attempt, "warning", { message }),
          ],
      ) !== null
    );
  }

  /** Warns all queued jobs for a model, unless they have that warning. */
  warnedQueued(model: string, message: string): void {
    const events = this.#ledger.write(() =>
      this.#ledger.jobs.warnQueued(model, message).map((id) => {
        const { attempt } = this.#ledger.jobs.find(id)!;
        return this.#durable(id, attempt, "warning", { message });
      }),
    );
    for (const event of events) this.#publish(event);
  }

  /** A checkpoint of this step is on the disk. */
  checkpointed(id: string, attempt: number, step: number): boolean {
    return this.#ledger.write(() => this.#ledger.jobs.checkpoint(id, attempt, step));
  }

  progressed<Name extends ProgressName>(
    id: string,
    attempt: number,
    name: Name,
    data: EventData[Name],
  ): boolean {
    const live = this.#liveOf(id, attempt);
    if (!live) return false;
    if (name === "step") {
      const { step, seconds } = data as EventData["step"];
      live.step = step;
      this.#measure({ name: "step", seconds });
    }
    this.#tell(live, id, name, data);
    return true;
  }

  previewed(id: string, attempt: number, preview: Preview): boolean {
    const live = this.#liveOf(id, attempt);
    if (!live) return false;
    live.preview = preview;
    this.#tell(live, id, "preview", { step: preview.step, url: previewUrl(id, preview.step) });
    return true;
  }

  modelLoaded(seconds: number): void {
    this.#measure({ name: "model_load", seconds });
  }

  /** The attempt has ended, but not the job: it waits again. */
  interrupted(id: string, attempt: number, how: Interruption, now: number = Date.now()): boolean {
    const job = this.#record(id, () => {
      if (!this.#ledger.jobs.interrupt(id, attempt, how, now)) return false;
      const { event, enter } = this.#queuedAt(this.find(id));
      return { events: [event], after: enter };
    });
    if (job) this.#live.delete(id);
    return job !== null;
  }

  finished(id: string, attempt: number, end: JobEnd, now: number = Date.now()): boolean {
    const { state, error = null, artifacts = [], duration } = end;
    const step = end.step ?? this.#liveOf(id, attempt)?.step;
    const job = this.#record(id, () => {
      if (!this.#ledger.jobs.finish(id, attempt, { state, step, error }, now)) return false;
      // The images among them are ranked now; those of a job that does not succeed go.
      this.#ledger.files.removeArtifacts(id);
      for (const artifact of artifacts) this.#ledger.files.addArtifact(id, artifact);
      if (duration) this.#ledger.durations.add(duration.workload, duration);
      this.#live.delete(id);
      return [this.#durable(id, attempt, state, {})];
    });
    if (!job) return false;
    this.#measure({ name: "job", outcome: state, seconds: (now - job.startedAt!) / 1000 });
    return true;
  }

  // ---------------------------------------------------------------- events

  /**
   * Writes something about a job together with its events, then publishes them.
   * @param work returns the events, and what to do once they are written; or false if nothing is to change.
   * @returns the job as it is then; null if nothing changed.
   */
  #record(id: string, work: () => readonly EventRecord[] | Recorded | false): JobRecord | null {
    const recorded = this.#ledger.write(work);
    if (!recorded) return null;
    const { events, after } = "events" in recorded ? recorded : { events: recorded, after: undefined };
    after?.();
    for (const event of events) this.#publish(event);
    return this.#ledger.jobs.find(id);
  }

  #insert(event: Omit<EventRecord, "id">): EventRecord {
    const record = { ...event, id: this.#ledger.events.nextId() };
    this.#ledger.events.insert(record);
    return record;
  }

  #durable(jobId: string, attempt: number, name: keyof EventData, data: object): EventRecord {
    return this.#insert({ jobId, name, attempt, data });
  }

  #updated(jobId: string): EventRecord {
    return this.#insert({ jobId, name: "updated", attempt: 0, data: {} });
  }

  #publish(record: EventRecord): void {
    if (record.jobId !== null && !this.hub.hears(record.jobId)) return;
    if (isOfStream(record)) for (const event of this.#streamEvent(record)) this.hub.publishToAll(event);
    else this.hub.publish(this.#jobEvent(record));
  }

  /** Tells about progress, which only memory keeps. */
  #tell<Name extends ProgressName | "preview">(
    live: LiveAttempt,
    id: string,
    name: Name,
    data: EventData[Name],
  ): void {
    const event = {
      id: this.#ledger.write(() => this.#ledger.events.nextId()),
      event: name,
      data: { job: id, attempt: live.attempt, ...data },
    } as JobEvent;
    live.keep(event);
    this.hub.publish(event);
  }

  #jobEvent({ id, jobId, name, attempt, data }: EventRecord): JobEvent {
    const result = isFinal(name) ? { result: this.object(this.find(jobId!)) } : {};
    return { id, event: name, data: { job: jobId, attempt, ...(data as object), ...result } } as JobEvent;
  }

  #streamEvent(record: EventRecord): readonly StreamEvent[] {
    const { id, jobId, name, data } = record;
    if (!isOfStream(record)) return [forAll(this.#jobEvent(record))];
    const content = jobId === null ? data : { result: this.object(this.find(jobId)) };
    return [{ id, event: name, data: content } as StreamEvent];
  }

  #liveOf(id: string, attempt: number): LiveAttempt | null {
    const live = this.#live.get(id);
    return live?.attempt === attempt ? live : null;
  }

  // ---------------------------------------------------------------- positions

  /** Records that a job waits. @returns what puts it into its place once that is written. */
  #queuedAt(job: QueuedJob): { readonly event: EventRecord; readonly enter: () => void } {
    const position = this.#queue.ahead(job);
    const event = this.#durable(job.id, job.attempt, "queued", { position });
    return { event, enter: () => this.#queue.put(job, position) };
  }

  #tellPositions(): void {
    const { hub } = this;
    const followed = [...this.#queue.moved(hub.followed)];
    for (const { id, position } of followed) this.#queue.told(id, position);
    const moved = hub.followsAll ? [...followed, ...this.#queue.nextMoved(mostPositions)] : followed;
    if (moved.length === 0) return;
    const ids = this.#ledger.write(() => moved.map(() => this.#ledger.events.nextId()));
    for (const [index, { id: job, attempt, position }] of moved.entries()) {
      this.#queue.told(job, position);
      hub.publishPlace({ id: ids[index]!, event: "queued", data: { job, attempt, position } });
    }
  }
}

/** What was written about a job. */
interface Recorded {
  readonly events: readonly EventRecord[];
  /** What follows from it in memory. */
  readonly after?: () => void;
}

const finalStates: readonly string[] = ["succeeded", "failed", "cancelled"] satisfies FinalState[];
const isFinal = (name: string): boolean => finalStates.includes(name);

/** Whether an event is only part of the stream of all jobs. */
const isOfStream = ({ name }: EventRecord): boolean => ["updated", "deleted", "queue"].includes(name);
