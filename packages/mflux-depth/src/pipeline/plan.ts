/*
 * Plans the memory of a generation from configs and file headers alone: the same stages that the runner executes, with
 * their estimates of working memory and the sizes of their weights.
 */
import { estimatorModels } from "../depth/descriptions.js";
import type { DepthEstimator } from "../depth/estimator.js";
import { type ObtainEstimatorOptions, obtainEstimator } from "../depth/open.js";
import { type EstimatorOptions, estimatorOptionsOf } from "../depth/options.js";
import { estimatorPrecision } from "../depth/precision.js";
import { ModelError } from "../errors.js";
import { resolveRepository } from "../hub/repository.js";
import { findAlternatives, type MemorySettings } from "../memory/alternatives.js";
import { keepsOutputs } from "../memory/lifetimes.js";
import { type MachineMemory, machineMemory, measuresFree } from "../memory/machine.js";
import { type MemoryPlan, peakOf, planStages, type StageMemory } from "../memory/plan.js";
import { defaultDepthModel, longestPrompt } from "../options/defaults.js";
import type { Bits, MemoryPolicy, ResolvedLoadOptions, ResolvedRequest } from "../options/index.js";
import type { HeldSize } from "../weights/component.js";
import { withAutoSize } from "./auto-size.js";
import type { Checkpoint } from "./checkpoint.js";
import { judgeComponent, judgeStage } from "./estimate-room.js";
import type { PreviewKind, StageName } from "./events.js";
import { latentGridOf } from "./latent-grid.js";
import { lendable } from "./lendable.js";
import { blockNotesOf } from "./model/block-notes.js";
import { cacheLimitOf, deviceFor } from "./model/device.js";
import { Loras } from "./model/loras.js";
import { findModel, type Model, openModel } from "./model/model.js";
import { isCheckpointFile } from "./model/single-file-source.js";
import { stagesOf, usesOf } from "./recipe.js";
import type { Workload } from "./stage.js";
import { stepsOf } from "./steps.js";

/** A stage of a plan. "judge" scores the image. */
export type PlannedStageName = StageName | "judge";

/** The facts about a request that determine its stages and their memory. */
export const workloadOf = (
  request: ResolvedRequest,
  {
    estimatesDepth,
    previews = null,
    resume = null,
  }: { estimatesDepth: boolean; previews?: PreviewKind | null; resume?: Checkpoint | null },
): Workload => ({
  width: request.width,
  height: request.height,
  textTokens: request.maxSequenceLength ?? longestPrompt,
  estimatesDepth,
  startsFromPhoto: request.maskImage !== undefined || (request.imageStrength > 0 && !resume),
  steps: stepsOf(request) - (resume?.step ?? 0),
  previews,
});

/**
 * Plans the memory of a generation, and looks for alternatives if it does not fit.
 * @param options.estimator estimates the depth; without one, its weights are left out of the sum.
 * @param options.judge estimates the image's depth to score it; without one, the image is not scored.
 * @throws {ModelError} when weights are missing or damaged.
 */
export function planGeneration(
  model: Model,
  workload: Workload,
  options: {
    policy: MemoryPolicy;
    estimator: DepthEstimator | null;
    judge?: DepthEstimator | null;
    machine?: MachineMemory;
  },
): MemoryPlan<PlannedStageName> {
  const { policy, estimator, judge = null, machine = machineMemory(model.device) } = options;
  const { available } = machine;
  const { precision } = model;
  const sizeWith = (name: string, bits: Bits | null): HeldSize =>
    name === judgeComponent ? judge!.size() : lendable(name, model, estimator).size(bits);

  const stagesWith = ({ memory, bits, width, height }: MemorySettings): StageMemory<PlannedStageName>[] => {
    const changed = { ...workload, width, height };
    const recipe = stagesOf(changed);
    const stages = recipe.map((stage) => ({
      name: stage.name,
      uses: usesOf(stage, changed, model.family),
      workingMemory: (room: number) => stage.workingMemory(changed, { model, estimator, room }),
    }));
    const bytesKept = recipe.map((stage) => stage.keeps?.(changed, model) ?? 0);
    return planStages<PlannedStageName, string>([...stages, ...(judge ? [judgeStage(judge)] : [])], {
      policy: memory,
      available,
      sizeOf: (name) => sizeWith(name, bits),
      kept: keepsOutputs(memory) ? bytesKept.reduce((sum, bytes) => sum + bytes) : 0,
    });
  };

  const settings = { memory: policy, bits: precision.bits, width: workload.width, height: workload.height };
  const stages = stagesWith(settings);
  const peak = peakOf(stages);
  const fits = peak <= available;
  const alternatives = fits
    ? []
    : findAlternatives(settings, (changed) => peakOf(stagesWith(changed)), {
        available,
        bitsAreFixed: precision.bitsAreStored,
        sizeMultiple: model.family.pixelsPerToken(model.configs),
      });
  return { stages, peak, machine, fits, alternatives };
}

export interface PlanOptions {
  /** How step previews are made; null, the default, for none. */
  readonly previews?: PreviewKind | null;
  /** Bytes that another process would free for this generation (default 0). */
  readonly reclaimable?: number;
  /** The depth estimator that scores the image, a repository or a folder; null, the default, for no score. */
  readonly judge?: string | null;
}

/**
 * Plans the memory of a generation before a model is loaded. Reads no weights and downloads nothing.
 * @returns the plan, with one sentence for each thing that could not be examined.
 * @throws {OptionError} if the machine lacks the requested device, or the size does not suit the model.
 * @throws {ModelError} when the model is not on this machine, no family recognises it, or it is damaged.
 */
export async function planModel(
  options: ResolvedLoadOptions,
  given: ResolvedRequest,
  { previews = null, reclaimable = 0, judge: judgeModel = null }: PlanOptions = {},
): Promise<MemoryPlan<PlannedStageName> & { readonly notes: readonly string[] }> {
  // Unlike findModel's error for an offline model, this one says how to get it.
  if (!isCheckpointFile(options.model)) resolveRepository(options.model, { revision: options.revision });
  const here = { ...options, offline: true };
  const { repository, files, ownFiles } = await findModel(here);
  const loras = await Loras.open(files, here);
  const model = openModel(files, options, deviceFor(options.device), { loras, ownFiles });
  const request = await withAutoSize(given);
  latentGridOf(request, model);
  const blocks = blockNotesOf(files, ownFiles, options.quantize);
  const notes = [...loras.notes, ...blocks.facts, ...blocks.losses];
  /** An estimator on this machine; null, with a note, if a stage lacks one. */
  const estimatorFor = async (
    stage: "depth" | "judge",
    wanted: ObtainEstimatorOptions,
  ): Promise<DepthEstimator | null> => {
    try {
      return await obtainEstimator({ ...wanted, cacheLimit: cacheLimitOf(options), offline: true });
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      notes.push(`The stage ${stage} is left out: ${error.message}`);
      return null;
    }
  };
  const modelFolder = repository.folder;
  const estimator =
    request.depthImage === undefined
      ? await estimatorFor("depth", { ...estimatorOptionsOf(options), modelFolder })
      : null;
  if (estimator && !estimator.folder.startsWith(modelFolder)) notes.push(...licenceOf(options.depthModel));
  if (estimator) notes.push(...precisionOf(options));
  const judge = judgeModel === null ? null : await estimatorFor("judge", { depthModel: judgeModel });
  const workload = workloadOf(request, { estimatesDepth: estimator !== null, previews });
  const machine = withReclaimed(machineMemory(model.device), reclaimable);
  return { ...planGeneration(model, workload, { policy: options.memory, estimator, judge, machine }), notes };
}

/** The machine's memory after another process has freed what it holds. */
const withReclaimed = (machine: MachineMemory, reclaimable: number): MachineMemory => ({
  ...machine,
  available: measuresFree(machine)
    ? Math.min(machine.total, machine.available + reclaimable)
    : machine.available,
});

/** A sentence about rounding the depth estimator's weights, and the inputs of its layers. */
function precisionOf(options: EstimatorOptions): string[] {
  const { bits, int8 } = estimatorPrecision(options);
  if (bits === null) return [];
  const inputs = int8 ? "; most of its layers round their inputs to 8 bits, too" : "";
  return [
    `The depth estimator has ${bits} bits per weight${inputs}. With depthQuantize none, it stays in float32.`,
  ];
}

/** A sentence about the licence of a published estimator. */
function licenceOf(depthModel: string = defaultDepthModel): string[] {
  const model = estimatorModels.find(({ repository }) => repository === depthModel);
  return model ? [`The licence of ${model.repository}, which estimates the depth: ${model.licence}.`] : [];
}
