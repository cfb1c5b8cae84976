import {
  type Engine,
  EngineError,
  type EngineEvent,
  type EngineJob,
  type EngineResult,
  type PictureFidelity,
} from "mflux-depth/engine";
import { changeParameters, encodeMap, type GreyMap } from "mflux-depth/images";
import type { FileStore, StoredFile } from "../blobs/file-store.js";
import type { EventData, ScoreObject } from "../contract/index.js";
import type { ClaimEnd } from "../dispatch/dispatcher.js";
import { ServiceError } from "../errors.js";
import type { History, JobEnd } from "../history/history.js";
import { candidateArtifact, depthArtifact, depthValues, imageArtifact } from "../history/job-object.js";
import type { ArtifactRecord } from "../ledger/files.js";
import type { JobRecord } from "../ledger/jobs.js";
import type { Ledger } from "../ledger/ledger.js";
import { bestOfCount, seedsOf } from "../options/best-of.js";
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
  /** The steps of the images before the one that is being made. */
  #stepsBefore = 0;
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
    const { engine, defaults, files, history } = this.#tools;
    const { id, previewEvery, request, seed } = this.#job;
    const given = await engineJobOf(this.#job, defaults, (sha256) => files.read(sha256));
    const seeds = seedsOf(seed!, request);
    const made = this.#candidates().length;
    const checkpoint = await this.#checkpointOf(made);
    const job: EngineJob = {
      ...given,
      checkpoints: checkpointPolicy,
      includeDepthMap: true,
      ...(previewEvery > 0 && { previews: { every: previewEvery, kind: "fast" } }),
    };
    using load = new Throttle<EventData["load"]>(loadMs, (data) =>
      history.progressed(id, this.#attempt, "load", data),
    );
    for (let index = made; index < seeds.length; index++) {
      this.#stepsBefore = index * this.#stepsOfImage;
      const resume = index === made ? checkpoint : null;
      const result = await engine.generate(
        { ...job, request: { ...job.request, seed: seeds[index] }, ...(resume && { resume }) },
        {
          signal: this.#signal,
          onEvent: (event) => {
            if (event.type === "started" && index === made && event.fingerprint !== resume?.fingerprint)
              this.#beginImage();
            this.#receive(event, load);
          },
        },
      );
      await this.#saving;
      if (index + 1 < seeds.length) await this.#keepCandidate(result, index + 1);
      else await this.#keepImages(result);
    }
  }

  /** The images of earlier attempts, in the order of seeds. */
  #candidates(): readonly ArtifactRecord[] {
    const artifacts = this.#tools.ledger.files.artifactsOf(this.#job.id);
    const candidates: ArtifactRecord[] = [];
    for (;;) {
      const name = candidateArtifact(candidates.length + 1);
      const next = artifacts.find((one) => one.name === name);
      if (!next) return candidates;
      candidates.push(next);
    }
  }

  /** The checkpoint of the image after those that are made; null if there is none. */
  async #checkpointOf(made: number): Promise<Checkpoint | null> {
    const before = made * this.#stepsOfImage;
    const latest = await this.#tools.checkpoints.latest(this.#job.id);
    // One of an image that has been finished since is of no use.
    return latest && latest.step > before ? { ...latest, step: latest.step - before } : null;
  }

  /** The steps of one of the job's images. */
  get #stepsOfImage(): number {
    const { steps, request } = this.#job;
    return (steps ?? 0) / bestOfCount(request);
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

  /** The attempt begins with the first step of an image: nothing fits to continue from, except images that are made. */
  #beginImage(): void {
    const { history } = this.#tools;
    const { id, step } = this.#job;
    if (this.#stepsBefore > 0) history.resumed(id, this.#attempt, this.#stepsBefore);
    else if (step > 0) history.beganAnew(id, this.#attempt);
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
        history.resumed(id, attempt, this.#stepsBefore + event.step);
        break;
      case "load":
        load.add(loadData(event));
        if (event.state === "end") this.#loadSeconds += event.seconds ?? 0;
        break;
      case "stage":
        history.progressed(id, attempt, "stage", stageData(event));
        break;
      case "step": {
        const place = { step: this.#stepsBefore + event.index, steps: this.#job.steps! };
        history.progressed(
          id,
          attempt,
          "step",
          stepData(place, event.seconds, this.#steps.add(event.seconds)),
        );
        if (event.preview) history.previewed(id, attempt, { step: place.step, ...event.preview });
        break;
      }
      case "checkpoint":
        this.#save({ ...event, step: this.#stepsBefore + event.step, fingerprint: this.#fingerprint! });
        break;
      case "warning":
        history.warned(id, attempt, forClients(event.message));
        break;
    }
  }

  /** Stores one of several images, so that a later attempt continues after it. */
  async #keepCandidate(result: EngineResult, number: number): Promise<void> {
    const { files, history } = this.#tools;
    const { bytes, ...facts } = imageFile(result, candidateArtifact(number));
    using stored = await files.add(bytes);
    const step = number * this.#stepsOfImage;
    history.candidateMade(this.#job.id, this.#attempt, { ...facts, ...sizeOf(stored) }, step);
  }

  /** Stores the last or only image, ranks it among the others, and ends the job. */
  async #keepImages(result: EngineResult): Promise<void> {
    const last = imageFile(result, imageArtifact(1));
    const candidates = this.#candidates();
    const images = candidates.length > 0 ? await this.#ranked([...candidates, last]) : [last];
    await this.#keep([...images, ...(result.depthMap ? await depthFiles(result.depthMap) : [])]);
  }

  /** Sorts images by their scores, the best first, and writes their ranks into their parameters. */
  async #ranked(images: readonly (MadeFile | ArtifactRecord)[]): Promise<readonly MadeFile[]> {
    const { files } = this.#tools;
    const sorted = images.toSorted((a, b) => a.score!.rmse - b.score!.rmse);
    const ranked: MadeFile[] = [];
    for (const [index, image] of sorted.entries()) {
      const bytes = isStored(image) ? await files.read(image.sha256) : image.bytes;
      const place = { rank: index + 1, candidates: sorted.length };
      const { mime, width, height, seed, score } = image;
      ranked.push({
        ...{ name: imageArtifact(index + 1), mime, width, height, seed, score },
        bytes: await changeParameters(bytes, ({ fidelity, ...others }) => ({
          ...others,
          fidelity: { ...(fidelity as PictureFidelity), ...place },
        })),
      });
    }
    return ranked;
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

  /** Stores what the job made, unless it is stored already, and ends the job. */
  async #keep(made: readonly (MadeFile | ArtifactRecord)[]): Promise<void> {
    const { files, history } = this.#tools;
    const { id, steps } = this.#job;
    if (this.#loadSeconds > 0) history.modelLoaded(this.#loadSeconds);
    // At once, because the disk takes about as long for one as for all.
    const adding = await Promise.allSettled(
      made.map(async (file) => (isStored(file) ? null : files.add(file.bytes))),
    );
    const stored = adding.flatMap((one) => (one.status === "fulfilled" && one.value ? [one.value] : []));
    try {
      const artifacts = made.map((file, index): ArtifactRecord => {
        const one = adding[index]!;
        if (one.status === "rejected") throw one.reason;
        return one.value ? { ...file, ...sizeOf(one.value) } : (file as ArtifactRecord);
      });
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

const isStored = (file: MadeFile | ArtifactRecord): file is ArtifactRecord => "sha256" in file;

const sizeOf = ({ sha256, bytes }: StoredFile): Pick<ArtifactRecord, "sha256" | "bytes"> => ({
  sha256,
  bytes,
});

function imageFile({ image, width, height, seed, fidelity }: EngineResult, name: string): MadeFile {
  const score = fidelity && scoreOf(fidelity);
  return { name, bytes: image, mime: "image/png", width, height, seed, score };
}

const scoreOf = ({ rmse, correlation, abs_rel, edge_f1 }: PictureFidelity): ScoreObject => ({
  rmse,
  correlation,
  abs_rel,
  edge_f1,
});

/** A depth map as clients see it, and its values at full precision. */
async function depthFiles(map: GreyMap): Promise<readonly MadeFile[]> {
  const { data, width, height } = map;
  const facts = { width, height, seed: null, score: null };
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
