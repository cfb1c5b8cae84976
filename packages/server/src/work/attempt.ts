import {
  type Engine,
  EngineError,
  type EngineEvent,
  type EngineJob,
  type EngineResult,
} from "mflux-depth/engine";
import { encodeMap, type GreyMap } from "mflux-depth/images";
import type { FileStore, StoredFile } from "../blobs/file-store.js";
import type { EventData } from "../contract/index.js";
import type { ClaimEnd } from "../dispatch/dispatcher.js";
import { ServiceError } from "../errors.js";
import type { History, JobEnd } from "../history/history.js";
import { depthArtifact, depthValues, imageArtifact } from "../history/job-object.js";
import type { ArtifactRecord } from "../ledger/files.js";
import type { JobRecord } from "../ledger/jobs.js";
import type { Ledger } from "../ledger/ledger.js";
import { adjustmentsOf, mapOf } from "../requests/depth-job.js";
import { engineJobOf, engineLoadOf, engineRequestOf } from "../requests/engine-job.js";
import { errorObjectOf } from "../requests/failure.js";
import { forClients } from "../requests/messages.js";
import type { Defaults } from "../requests/resolve.js";
import type { Checkpoint, Checkpoints } from "./checkpoints.js";
import { loadData, StepClock, stageData, stepData } from "./progress.js";
import { Throttle } from "./throttle.js";
import { workloadOf } from "./workload.js";

/** What attempts work with. */
export interface AttemptTools {
  readonly engine: Engine;
  readonly ledger: Ledger;
  readonly history: History;
  readonly files: FileStore;
  readonly checkpoints: Checkpoints;
  readonly defaults: Defaults;
  /** Told the details of failures, of which clients see only a sentence. */
  readonly onProblem: (message: string, error: unknown) => void;
}

/** How an attempt left its job: ended, or to be tried again. */
export type AttemptEnd = "ended" | "unfinished" | "lost";

/** Crashes of the engine in a row, without a new checkpoint in between, that fail a job. */
const mostCrashes = 3;

const loadMs = 250;
const checkpointPolicy = { everySteps: 2, minSeconds: 1 } as const;

/** One attempt at a job: runs it in the engine, and records what happens. */
export class Attempt {
  readonly #tools: AttemptTools;
  readonly #job: JobRecord;
  readonly #attempt: number;
  /** Ends the attempt: the claim's, or that of a worker that stops. */
  readonly #signal: AbortSignal;
  readonly #steps = new StepClock();
  readonly #began = performance.now();
  #fingerprint: string | null = null;
  #loadSeconds = 0;
  /** The last checkpoint that is being written, and one that waits for it. */
  #saving: Promise<void> = Promise.resolve();
  #nextCheckpoint: Checkpoint | null = null;

  /** @param job as it is after the attempt has started. */
  constructor(tools: AttemptTools, job: JobRecord, { signal }: { readonly signal: AbortSignal }) {
    this.#tools = tools;
    this.#job = job;
    this.#attempt = job.attempt;
    this.#signal = signal;
  }

  /** Carries the attempt out. Whatever goes wrong with the job is recorded, not thrown. */
  async run(): Promise<AttemptEnd> {
    const { id, kind } = this.#job;
    try {
      if (kind === "generate") await this.#generate();
      else await this.#estimateDepth();
    } catch (error) {
      await this.#saving;
      const end = this.#failed(error);
      if (end !== "ended") return end;
    }
    await this.#tools.checkpoints.remove(id);
    return "ended";
  }

  // ---------------------------------------------------------------- kinds

  async #generate(): Promise<void> {
    const { engine, defaults, files, history, checkpoints } = this.#tools;
    const { id, previewEvery } = this.#job;
    const given = await engineJobOf(this.#job, defaults, (sha256) => files.read(sha256));
    const checkpoint = await checkpoints.latest(id);
    const job: EngineJob = {
      ...given,
      checkpoints: checkpointPolicy,
      includeDepthMap: true,
      ...(previewEvery > 0 && { previews: { every: previewEvery, kind: "fast" } }),
      ...(checkpoint && { resume: checkpoint }),
    };
    using load = new Throttle<EventData["load"]>(loadMs, (data) =>
      history.progressed(id, this.#attempt, "load", data),
    );
    const result = await engine.generate(job, {
      signal: this.#signal,
      onEvent: (event) => {
        if (event.type === "started" && event.fingerprint !== checkpoint?.fingerprint) this.#beginAnew();
        this.#receive(event, load);
      },
    });
    await this.#saving;
    await this.#keepImage(result);
  }

  async #estimateDepth(): Promise<void> {
    const { engine, defaults, files, history } = this.#tools;
    const { id, request, load } = this.#job;
    const attempt = this.#attempt;
    const { image } = await engineRequestOf(this.#job, (sha256) => files.read(sha256));
    history.progressed(id, attempt, "stage", { stage: "depth", state: "started" });
    const result = await engine.estimateDepth(
      {
        load: engineLoadOf(load, defaults),
        photo: image as Uint8Array,
        adjustments: adjustmentsOf(request),
        encode: "npy",
      },
      { signal: this.#signal },
    );
    history.progressed(id, attempt, "stage", { stage: "depth", state: "finished" });
    await this.#keep(await depthFiles(mapOf(result)));
  }

  /** Forgets the steps of earlier attempts: nothing fits to continue from. */
  #beginAnew(): void {
    if (this.#job.step > 0) this.#tools.history.beganAnew(this.#job.id, this.#attempt);
  }

  #receive(event: EngineEvent, load: Throttle<EventData["load"]>): void {
    const { history } = this.#tools;
    const { id } = this.#job;
    const attempt = this.#attempt;
    switch (event.type) {
      case "started":
        this.#fingerprint = event.fingerprint;
        break;
      case "resumed":
        history.resumed(id, attempt, event.step);
        break;
      case "load":
        load.add(loadData(event));
        if (event.state === "end") this.#loadSeconds += event.seconds ?? 0;
        break;
      case "stage":
        history.progressed(id, attempt, "stage", stageData(event));
        break;
      case "step":
        history.progressed(id, attempt, "step", stepData(event, this.#steps.add(event.seconds)));
        if (event.preview) history.previewed(id, attempt, { step: event.index, ...event.preview });
        break;
      case "checkpoint":
        this.#save({ ...event, fingerprint: this.#fingerprint! });
        break;
      case "warning":
        history.warned(id, attempt, forClients(event.message));
        break;
    }
  }

  async #keepImage(result: EngineResult): Promise<void> {
    const { image, width, height, seed, depthMap } = result;
    await this.#keep([
      { name: imageArtifact(1), bytes: image, mime: "image/png", width, height, seed },
      ...(depthMap ? await depthFiles(depthMap) : []),
    ]);
  }

  // ---------------------------------------------------------------- checkpoints

  /** Writes a checkpoint; if they come faster than the disk takes them, the latest. */
  #save(checkpoint: Checkpoint): void {
    const waiting = this.#nextCheckpoint;
    this.#nextCheckpoint = { ...checkpoint, depthMap: checkpoint.depthMap ?? waiting?.depthMap ?? null };
    if (!waiting) this.#saving = this.#saving.then(() => this.#saveNext());
  }

  async #saveNext(): Promise<void> {
    const { checkpoints, history, onProblem } = this.#tools;
    const { id } = this.#job;
    const checkpoint = this.#nextCheckpoint!;
    this.#nextCheckpoint = null;
    try {
      await checkpoints.save(id, this.#attempt, checkpoint);
      history.checkpointed(id, this.#attempt, checkpoint.step);
    } catch (error) {
      // The generation goes on; a crash costs it more.
      onProblem(`A checkpoint of the job ${id} could not be written.`, error);
    }
  }

  // ---------------------------------------------------------------- ends

  /** Stores what the job made, and ends it. */
  async #keep(made: readonly MadeFile[]): Promise<void> {
    const { files, history } = this.#tools;
    const { id, steps } = this.#job;
    if (this.#loadSeconds > 0) history.modelLoaded(this.#loadSeconds);
    // At once, because the disk takes about as long for one as for all.
    const adding = await Promise.allSettled(made.map(({ bytes }) => files.add(bytes)));
    const stored = adding.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    try {
      for (const one of adding) if (one.status === "rejected") throw one.reason;
      const artifacts = made.map((facts, index) => ({ ...facts, ...sizeOf(stored[index]!) }));
      const duration = this.#duration();
      const end = { state: "succeeded", step: steps ?? 0, artifacts, ...(duration && { duration }) } as const;
      history.finished(id, this.#attempt, end);
    } finally {
      for (const file of stored) file[Symbol.dispose]();
    }
  }

  #failed(error: unknown): AttemptEnd {
    const { history, ledger, onProblem } = this.#tools;
    const { id } = this.#job;
    const attempt = this.#attempt;
    if (this.#signal.aborted) return this.#stopped(this.#signal.reason);
    if (!isCrash(error)) {
      onProblem(`The job ${id} failed.`, error);
      history.finished(id, attempt, { state: "failed", error: errorObjectOf(error) });
      return "ended";
    }
    onProblem(`The engine crashed during the job ${id}.`, error);
    const crashes = (ledger.jobs.find(id)?.crashes ?? 0) + 1;
    if (crashes < mostCrashes) {
      history.interrupted(id, attempt, "crashed");
      return "unfinished";
    }
    history.finished(id, attempt, { state: "failed", error: errorObjectOf(crashedTooOften(error)) });
    return "ended";
  }

  #stopped(reason: unknown): AttemptEnd {
    const { history } = this.#tools;
    const { id } = this.#job;
    if (reason === ("lost" satisfies ClaimEnd)) return "lost";
    if (reason === ("cancelled" satisfies ClaimEnd)) {
      history.finished(id, this.#attempt, { state: "cancelled" });
      return "ended";
    }
    history.interrupted(id, this.#attempt, "interrupted");
    return "unfinished";
  }

  /** How long jobs like this one take; null without a step to judge by. */
  #duration(): JobEnd["duration"] | null {
    const { usual, total } = this.#steps;
    if (usual === null) return null;
    const seconds = (performance.now() - this.#began) / 1000;
    const otherSeconds = Math.max(0, seconds - total - this.#loadSeconds);
    return { workload: workloadOf(this.#job), stepSeconds: usual, otherSeconds };
  }
}

/** A file that a job made, before it is stored. */
type MadeFile = Omit<ArtifactRecord, "sha256" | "bytes"> & { readonly bytes: Uint8Array };

const sizeOf = ({ sha256, bytes }: StoredFile): Pick<ArtifactRecord, "sha256" | "bytes"> => ({
  sha256,
  bytes,
});

/** A depth map as clients see it, and its values at full precision. */
async function depthFiles(map: GreyMap): Promise<readonly MadeFile[]> {
  const { data, width, height } = map;
  const facts = { width, height, seed: null };
  return [
    { ...facts, name: depthArtifact, mime: "image/png", bytes: await encodeMap(map, "png") },
    {
      ...facts,
      name: depthValues,
      mime: "application/octet-stream",
      bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    },
  ];
}

/** Whether the engine's process ended under a job, or as it started. */
const isCrash = (error: unknown): boolean =>
  error instanceof EngineError && ["engine-ended", "engine-not-started"].includes(error.code);

const crashedTooOften = (cause: unknown): ServiceError =>
  new ServiceError(
    "engine_crashed",
    `The engine crashed ${mostCrashes} times on this job, probably because memory ran out; try a smaller size, fewer bits, or memory: low.`,
    { cause },
  );
