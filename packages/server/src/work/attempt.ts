import {
  type Engine,
  EngineError,
  type EngineEvent,
  type EngineJob,
  type EngineResult,
  type PictureFidelity,
} from "mflux-depth/engine";
import { changeParameters, type DepthMap, encodeMap } from "mflux-depth/images";
import type { EventData, ScoreObject } from "../contract/index.js";
import type { ClaimEnd } from "../dispatch/dispatcher.js";
import { candidateArtifact, depthArtifact, depthValues, imageArtifact } from "../history/job-object.js";
import type { ArtifactRecord } from "../ledger/files.js";
import { bestOfCount, seedsOf } from "../options/best-of.js";
import { adjustmentsOf, mapOf } from "../requests/depth-job.js";
import { engineJobOf, engineLoadOf, engineRequestOf } from "../requests/engine-job.js";
import { errorObjectOf } from "../requests/failure.js";
import { forClients } from "../requests/messages.js";
import type { Defaults } from "../requests/resolve.js";
import type { AttemptEnd, AttemptJob, AttemptOutcome, AttemptRecord } from "./attempt-record.js";
import type { Checkpoint } from "./checkpoints.js";
import { loadData, StepClock, stageData, stepData } from "./progress.js";
import { Throttle } from "./throttle.js";
import { workloadOf } from "./workload.js";

/** The dependencies of attempts. */
export interface AttemptTools {
  readonly engine: Engine;
  readonly defaults: Defaults;
  /** Called with the details of failures; clients only see a sentence. */
  readonly onProblem: (message: string, error: unknown) => void;
}

const loadMs = 250;
const checkpointPolicy = { everySteps: 2, minSeconds: 1 } as const;

/** One attempt at a job: runs it in the engine and records the results. */
export class Attempt {
  readonly #tools: AttemptTools;
  readonly #record: AttemptRecord;
  readonly #job: AttemptJob;
  /** Aborts with the claim, with the record, or when the worker stops. */
  readonly #signal: AbortSignal;
  /** The finished images, in the order of seeds. */
  readonly #candidates: ArtifactRecord[];
  readonly #steps = new StepClock();
  readonly #began = performance.now();
  #fingerprint: string | null = null;
  /** The number of steps of the images before the current one. */
  #stepsBefore = 0;
  #loadSeconds = 0;
  /** The checkpoint being saved, and the latest one that waits for it. */
  #saving: Promise<void> = Promise.resolve();
  #nextCheckpoint: Checkpoint | null = null;

  constructor(tools: AttemptTools, record: AttemptRecord, { signal }: { readonly signal: AbortSignal }) {
    this.#tools = tools;
    this.#record = record;
    this.#job = record.job;
    this.#signal = signal;
    this.#candidates = [...record.candidates];
  }

  /** Carries out the attempt. Problems with the job are recorded, not thrown. */
  async run(): Promise<AttemptEnd> {
    try {
      return this.#job.kind === "generate" ? await this.#generate() : await this.#estimateDepth();
    } catch (error) {
      await this.#saving;
      const outcome = this.#outcomeOf(error);
      return outcome === "lost" ? "lost" : await this.#record.end(outcome);
    }
  }

  // ---------------------------------------------------------------- kinds

  async #generate(): Promise<AttemptEnd> {
    const { engine, defaults } = this.#tools;
    const { previewEvery, request, seed } = this.#job;
    const given = await engineJobOf(this.#job, defaults, (sha256) => this.#record.picture(sha256));
    const seeds = seedsOf(seed!, request);
    const made = this.#candidates.length;
    const checkpoint = await this.#checkpointOf(made);
    const job: EngineJob = {
      ...given,
      checkpoints: checkpointPolicy,
      includeDepthMap: true,
      ...(previewEvery > 0 && { previews: { every: previewEvery, kind: "fast" } }),
    };
    using load = new Throttle<EventData["load"]>(loadMs, (data) => this.#record.progressed("load", data));
    for (let index = made; ; index++) {
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
      else return await this.#keepImages(result);
    }
  }

  /** The checkpoint of the image after the finished ones; null if there is none. */
  async #checkpointOf(made: number): Promise<Checkpoint | null> {
    const before = made * this.#stepsOfImage;
    const latest = await this.#record.latestCheckpoint();
    // The checkpoint of an image that has been finished since is useless.
    return latest && latest.step > before ? { ...latest, step: latest.step - before } : null;
  }

  /** The steps of one of the job's images. */
  get #stepsOfImage(): number {
    const { steps, request } = this.#job;
    return (steps ?? 0) / bestOfCount(request);
  }

  async #estimateDepth(): Promise<AttemptEnd> {
    const { engine, defaults } = this.#tools;
    const { request, load } = this.#job;
    const { image } = await engineRequestOf(this.#job, (sha256) => this.#record.picture(sha256));
    this.#record.progressed("stage", { stage: "depth", state: "started" });
    const result = await engine.estimateDepth(
      {
        load: engineLoadOf(load, defaults),
        photo: image as Uint8Array,
        adjustments: adjustmentsOf(request),
        encode: "npy",
      },
      { signal: this.#signal },
    );
    this.#record.progressed("stage", { stage: "depth", state: "finished" });
    return await this.#succeed(await depthFiles(mapOf(result)));
  }

  /** The attempt starts an image at its first step: it has no matching checkpoint, but may have finished images. */
  #beginImage(): void {
    if (this.#stepsBefore > 0) this.#record.resumed(this.#stepsBefore);
    else if (this.#job.step > 0) this.#record.beganAnew();
  }

  #receive(event: EngineEvent, load: Throttle<EventData["load"]>): void {
    const record = this.#record;
    switch (event.type) {
      case "started":
        this.#fingerprint = event.fingerprint;
        break;
      case "resumed":
        record.resumed(this.#stepsBefore + event.step);
        break;
      case "load":
        load.add(loadData(event));
        if (event.state === "end") this.#loadSeconds += event.seconds ?? 0;
        break;
      case "stage":
        record.progressed("stage", stageData(event));
        break;
      case "step": {
        const place = { step: this.#stepsBefore + event.index, steps: this.#job.steps! };
        record.progressed("step", stepData(place, event.seconds, this.#steps.add(event.seconds)));
        if (event.preview) record.previewed({ step: place.step, ...event.preview });
        break;
      }
      case "checkpoint":
        this.#save({ ...event, step: this.#stepsBefore + event.step, fingerprint: this.#fingerprint! });
        break;
      case "warning":
        record.warned(forClients(event.message));
        break;
    }
  }

  /** Stores one of several images, so that a later attempt can continue after it. */
  async #keepCandidate(result: EngineResult, number: number): Promise<void> {
    const { bytes, ...facts } = imageFile(result, candidateArtifact(number));
    const kept = await this.#record.keep(bytes);
    const candidate = { ...facts, ...kept };
    await this.#record.candidateMade(candidate, number * this.#stepsOfImage);
    this.#candidates.push(candidate);
  }

  /** Stores the last or only image, ranks it among the others, and ends the job. */
  async #keepImages(result: EngineResult): Promise<AttemptEnd> {
    const last = imageFile(result, imageArtifact(1));
    const images = this.#candidates.length > 0 ? await this.#ranked([...this.#candidates, last]) : [last];
    return await this.#succeed([...images, ...(result.depthMap ? await depthFiles(result.depthMap) : [])]);
  }

  /** Sorts images by score, best first, and writes their ranks into their parameters. */
  async #ranked(images: readonly (MadeFile | ArtifactRecord)[]): Promise<readonly MadeFile[]> {
    const sorted = images.toSorted((a, b) => a.score!.rmse - b.score!.rmse);
    const ranked: MadeFile[] = [];
    for (const [index, image] of sorted.entries()) {
      const bytes = isKept(image) ? await this.#record.picture(image.sha256) : image.bytes;
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

  /** Saves a checkpoint. If checkpoints come faster than they can be saved, only the latest is. */
  #save(checkpoint: Checkpoint): void {
    const waiting = this.#nextCheckpoint;
    this.#nextCheckpoint = { ...checkpoint, depthMap: checkpoint.depthMap ?? waiting?.depthMap ?? null };
    if (!waiting) this.#saving = this.#saving.then(() => this.#saveNext());
  }

  async #saveNext(): Promise<void> {
    const checkpoint = this.#nextCheckpoint!;
    this.#nextCheckpoint = null;
    try {
      await this.#record.saveCheckpoint(checkpoint);
    } catch (error) {
      // The generation continues; only a crash would cost more.
      this.#tools.onProblem(`A checkpoint of the job ${this.#job.id} could not be kept.`, error);
    }
  }

  // ---------------------------------------------------------------- ends

  /** Hands over what the job made, and ends the job. */
  async #succeed(made: readonly MadeFile[]): Promise<AttemptEnd> {
    const record = this.#record;
    if (this.#loadSeconds > 0) record.modelLoaded(this.#loadSeconds);
    // In parallel, because the disk takes about as long for one as for all. If one fails, the others are released.
    const keeping = await Promise.allSettled(made.map(({ bytes }) => record.keep(bytes)));
    const artifacts = made.map(({ bytes: _, ...facts }, index): ArtifactRecord => {
      const kept = keeping[index]!;
      if (kept.status === "rejected") throw kept.reason;
      return { ...facts, ...kept.value };
    });
    const duration = this.#duration();
    const step = this.#job.steps ?? 0;
    return await record.end({ state: "succeeded", step, artifacts, ...(duration && { duration }) });
  }

  /** How the attempt ends after an error. */
  #outcomeOf(error: unknown): AttemptOutcome | "lost" {
    const { onProblem } = this.#tools;
    const { id } = this.#job;
    if (this.#signal.aborted) return outcomeOfStop(this.#signal.reason);
    if (!isCrash(error)) {
      onProblem(`The job ${id} failed.`, error);
      return { state: "failed", error: errorObjectOf(error) };
    }
    onProblem(`The engine crashed during the job ${id}.`, error);
    return { state: "crashed" };
  }

  /** How long jobs like this one take; null if no step was measured. */
  #duration(): Extract<AttemptOutcome, { state: "succeeded" }>["duration"] | null {
    const { usual, total } = this.#steps;
    if (usual === null) return null;
    const seconds = (performance.now() - this.#began) / 1000;
    const otherSeconds = Math.max(0, seconds - total - this.#loadSeconds);
    return { workload: workloadOf(this.#job), stepSeconds: usual, otherSeconds };
  }
}

/** A file that a job made, before it is stored. */
type MadeFile = Omit<ArtifactRecord, "sha256" | "bytes"> & { readonly bytes: Uint8Array };

const isKept = (file: MadeFile | ArtifactRecord): file is ArtifactRecord => "sha256" in file;

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
async function depthFiles(map: DepthMap): Promise<readonly MadeFile[]> {
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

/** @param reason why the attempt was told to stop. */
function outcomeOfStop(reason: unknown): AttemptOutcome | "lost" {
  if (reason === ("lost" satisfies ClaimEnd)) return "lost";
  return { state: reason === ("cancelled" satisfies ClaimEnd) ? "cancelled" : "interrupted" };
}

/** Whether the engine's process ended under a job, or as it started. */
const isCrash = (error: unknown): boolean =>
  error instanceof EngineError && ["engine-ended", "engine-not-started"].includes(error.code);
