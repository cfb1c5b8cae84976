import type { DepthEstimator } from "../depth/estimator.js";
import { obtainEstimator } from "../depth/open.js";
import { ModelError } from "../errors.js";
import { resolveRepository } from "../hub/repository.js";
import { findAlternatives } from "../memory/alternatives.js";
import { type MachineMemory, machineMemory } from "../memory/machine.js";
import { type MemoryPlan, peakOf, planStages, type StageMemory } from "../memory/plan.js";
import type { MemoryPolicy, ResolvedLoadOptions, ResolvedRequest } from "../options/index.js";
import type { HeldSize } from "../weights/component.js";
import { chooseDevice } from "./device.js";
import type { StageName } from "./events.js";
import { latentGridOf } from "./latent-grid.js";
import { findModel, type Model, openModel } from "./model.js";
import { stagesOf, usesOf } from "./recipe.js";
import type { LoadableName, Workload } from "./stage.js";

/** The facts of a request that decide its stages and their memory. */
export const workloadOf = (
  request: ResolvedRequest,
  { estimatesDepth, previews = false }: { estimatesDepth: boolean; previews?: boolean },
): Workload => ({
  width: request.width,
  height: request.height,
  maxSequenceLength: request.maxSequenceLength,
  estimatesDepth,
  startsFromPhoto: request.imageStrength > 0,
  previews,
});

/**
 * Estimates the memory of a generation, from configs and file headers alone.
 * @param options.estimator estimates the depth; null leaves its weights out of the sum.
 * @throws {ModelError} when weights are missing or damaged.
 */
export function planGeneration(
  model: Model,
  workload: Workload,
  options: { policy: MemoryPolicy; estimator: DepthEstimator | null; machine?: MachineMemory },
): MemoryPlan<StageName> {
  const { policy, estimator, machine = machineMemory(model.device) } = options;
  const { available } = machine;
  const { bits, bitsAreStored } = model.precision;
  const sizes = componentSizes(model, estimator);
  const stages = stageMemories(model, workload, { policy, estimator, available, sizeOf: sizes(bits) });
  const peak = peakOf(stages);
  const fits = peak <= available;
  const settings = { memory: policy, bits, width: workload.width, height: workload.height };
  const peakWith = (changed: typeof settings): number => {
    const { width, height } = changed;
    const sizeOf = sizes(changed.bits);
    const context = { policy: changed.memory, estimator, available, sizeOf };
    return peakOf(stageMemories(model, { ...workload, width, height }, context));
  };
  const alternatives = fits
    ? []
    : findAlternatives(settings, peakWith, { available, bitsAreFixed: bitsAreStored });
  return { stages, peak, machine, fits, alternatives };
}

function stageMemories(
  model: Model,
  workload: Workload,
  context: {
    policy: MemoryPolicy;
    estimator: DepthEstimator | null;
    available: number;
    sizeOf: (name: string) => HeldSize;
  },
): StageMemory<StageName>[] {
  const stages = stagesOf(workload).map((stage) => ({
    name: stage.name,
    uses: usesOf(stage, workload),
    workingMemory: (room: number): number =>
      stage.workingMemory(workload, { model, estimator: context.estimator, room }),
  }));
  return planStages(stages, context);
}

/** The sizes of components by their bits; headers are read once. */
function componentSizes(
  { components }: Model,
  estimator: DepthEstimator | null,
): (bits: Model["precision"]["bits"]) => (name: string) => HeldSize {
  const known = new Map<string, HeldSize>();
  return (bits) => (name) => {
    const key = `${name} ${bits}`;
    const size = known.get(key) ?? measure(name as LoadableName);
    known.set(key, size);
    return size;

    function measure(component: LoadableName): HeldSize {
      if (component === "depth") return estimator?.size() ?? { bytes: 0, reading: 0 };
      return components[component].size(bits);
    }
  };
}

/**
 * Estimates the memory of a generation; loads and downloads nothing.
 * @returns the plan, with one sentence for each thing that could not be examined.
 * @throws {OptionError} when the machine does not have the requested device.
 * @throws {ModelError} when the model is not on this machine, no family recognises it, or it is damaged.
 */
export async function planModel(
  options: ResolvedLoadOptions,
  request: ResolvedRequest,
): Promise<MemoryPlan<StageName> & { readonly notes: readonly string[] }> {
  // Explains how to get a model that is not here; the offline search would explain why it is not downloaded.
  resolveRepository(options.model, { revision: options.revision });
  const { repository, files } = await findModel({ ...options, offline: true });
  const model = openModel(files, options, chooseDevice(options.device));
  latentGridOf(request, model);
  const notes: string[] = [];
  let estimator: DepthEstimator | null = null;
  if (request.depthImage === undefined)
    try {
      const { depthModel } = options;
      estimator = await obtainEstimator({ depthModel, modelFolder: repository.folder, offline: true });
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      notes.push(`The stage depth is left out: ${error.message}`);
    }
  const workload = workloadOf(request, { estimatesDepth: estimator !== null });
  return { ...planGeneration(model, workload, { policy: options.memory, estimator }), notes };
}
