/*
 * The work of a generation before its stages: reads the images, chooses the depth estimator, and checks that everything
 * fits into memory.
 */
import { describeBytes } from "../bytes.js";
import type { DepthEstimator } from "../depth/estimator.js";
import { machineMemory } from "../memory/machine.js";
import { type MemoryPlan, requireFit } from "../memory/plan.js";
import type { ResolvedLoadOptions, ResolvedRequest } from "../options/index.js";
import { warnIfNeverGuided } from "./control-strength.js";
import type { PreviewKind } from "./events.js";
import { readImages } from "./images.js";
import type { EstimatorSource } from "./model/estimator-source.js";
import type { Model } from "./model/model.js";
import { warnIfPhotoIsUnused } from "./noise-levels.js";
import { type PlannedStageName, planGeneration, workloadOf } from "./plan.js";
import { warnIfInverted } from "./polarity.js";
import type { FastPreviews } from "./previews/fast-previews.js";
import type { PromptCache } from "./prompt-cache.js";
import type { Generation, RequestImages, Workload } from "./stage.js";
import { Warnings } from "./warnings.js";

/** A checked request and its settings. */
export type AskedGeneration = Pick<
  Generation,
  "request" | "grid" | "noiseLevels" | "previewEvery" | "withLatents" | "resume" | "signal"
> & { readonly previewKind: PreviewKind };

/** What all generations of one instance share. */
export interface GenerationContext {
  readonly model: Model;
  readonly options: ResolvedLoadOptions;
  readonly estimators: EstimatorSource;
  readonly prompts: PromptCache;
  readonly controls: Generation["controls"];
  readonly fastPreviews: FastPreviews;
  /** Differences from the requested model, one sentence each. */
  readonly notes: readonly string[];
}

/** A generation with its memory plan. */
interface Choice {
  readonly estimator: DepthEstimator | null;
  readonly workload: Workload;
  readonly plan: MemoryPlan<PlannedStageName>;
}

/**
 * Sets a generation up for its stages.
 * @throws {ImageError} when an image cannot be read.
 * @throws {ModelError} when a necessary depth estimator is not found.
 * @throws {MemoryError} when the machine has too little memory, unless `force` is set.
 */
export async function setUp(asked: AskedGeneration, context: GenerationContext): Promise<Generation> {
  const { request, noiseLevels, signal } = asked;
  const { model, options, prompts, controls, fastPreviews, notes } = context;
  model.loras.setScales(request.loraScales);
  const warnings = new Warnings([...notes, ...request.warnings]);
  warnIfPhotoIsUnused({ request, warnings });
  warnIfNeverGuided({ request, noiseLevels, warnings });
  // Report problems with images before any slow work.
  const images = await readImages(request, warnings, signal);
  const { estimator, workload, plan } = await choose(asked, images, context);
  // A resumed generation was checked when it first started.
  if (!estimator && !asked.resume) warnIfInverted({ images, request, warnings }, null);
  if (!options.force) requireFit(plan);
  else if (!plan.fits)
    warnings.add(
      `This may need ${describeBytes(plan.peak)} of memory, but only ${describeBytes(plan.machine.available)} is available.`,
    );
  return { ...asked, workload, model, images, estimator, prompts, controls, fastPreviews, warnings };
}

/**
 * Chooses the estimator. It is necessary without a depth map, and useful if a photo can show whether the map is
 * inverted; but that check alone does not justify a download, or more memory than is available.
 */
async function choose(
  { request, previewEvery, previewKind, resume, signal }: AskedGeneration,
  { depthMap, photo }: RequestImages,
  { model, options, estimators }: GenerationContext,
): Promise<Choice> {
  const machine = machineMemory(model.device);
  const choice = (estimator: DepthEstimator | null): Choice => {
    const previews = previewEvery > 0 ? previewKind : null;
    const workload = workloadOf(request, { estimatesDepth: estimator !== null, previews, resume });
    const plan = planGeneration(model, workload, { policy: options.memory, estimator, machine });
    return { estimator, workload, plan };
  };
  if (resume?.depthMap) return choice(null);
  if (!depthMap) return choice(await estimators.find(signal));
  if (resume) return choice(null);
  const optional = canCompare(request, photo) ? await estimators.findHere(signal) : null;
  const comparing = optional && choice(optional);
  return comparing && depthPeak(comparing.plan) <= machine.available ? comparing : choice(null);
}

/** Whether the depth of the photo can show that the given map is inverted. */
const canCompare = ({ trustDepth }: ResolvedRequest, photo: RequestImages["photo"]): boolean =>
  photo !== null && !trustDepth;

/** The peak of the stage that estimates the depth, in bytes. */
const depthPeak = ({ stages }: MemoryPlan<PlannedStageName>): number =>
  stages.find(({ stage }) => stage === "depth")!.peak;
