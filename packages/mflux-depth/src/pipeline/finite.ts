/*
 * Checks that numbers are finite: others turn an image black. Every stage checks its output, so that a generation fails
 * where they first appear, and the error explains why.
 */

import { all, evaluate, isfinite, type MxArray, scope } from "@mflux-depth/mlx";
import type { Module } from "@mflux-depth/mlx/nn";
import { ModelError, type Remedy } from "../errors.js";
import type { StageName } from "./events.js";
import { componentDType } from "./model/precision.js";
import type { Generation } from "./stage.js";

/** Where the checked values come from. */
export interface Origin {
  readonly stage: StageName;
  /** Describes the values in messages: "the latents of step 3". */
  readonly values: string;
  readonly component: string;
  readonly network: Module;
}

/**
 * Checks that a stage made finite values.
 * @throws {ModelError} naming the stage and the likely cause.
 * @throws the signal's reason when it is aborted.
 */
export async function requireFinite(
  values: MxArray,
  origin: Origin,
  generation: Pick<Generation, "request" | "model" | "signal">,
): Promise<void> {
  if (!(await allFinite(values, generation.signal))) throw await notFinite(origin, generation);
}

/** Makes the error for values that are not finite, after examining the weights for the cause. */
export async function notFinite(
  origin: Origin,
  generation: Pick<Generation, "request" | "model" | "signal">,
): Promise<ModelError> {
  const { stage, values, component } = origin;
  const { reason, remedies } = await causeOf(origin, generation);
  return new ModelError(
    generation.model.components[component]!.source,
    `the stage ${stage} failed: ${values} are not finite numbers; ${reason}`,
    { details: remedies ? { remedies } : {} },
  );
}

async function allFinite(values: MxArray, signal: AbortSignal): Promise<boolean> {
  using finite = scope(() => all(isfinite(values)));
  await evaluate(finite, { signal });
  return finite.item() as boolean;
}

async function causeOf(
  { component, network }: Origin,
  { request, model, signal }: Pick<Generation, "request" | "model" | "signal">,
): Promise<{ readonly reason: string; readonly remedies?: readonly Remedy[] }> {
  for (const [path, parameter] of network.parameters())
    if (!(await allFinite(parameter, signal))) {
      // A matrix that was quantized on loading consists of several tensors.
      const stored = model.precision.bitsAreStored ? path : path.replace(/\.(scales|biases)$/, ".weight");
      return { reason: `tensor "${stored}" of the weights is damaged; get a new copy of the model` };
    }
  const dtype = componentDType(model.family.components[component]!, model.precision);
  if (dtype === "float16")
    return {
      reason: "float16 is too narrow for this model",
      remedies: [{ kind: "set-option", option: "dtype", value: "bfloat16" }],
    };
  const fromRequest =
    component === model.family.denoising.component
      ? `, or guidance ${request.guidance}${request.latents ? " or the given latents are" : " is"} too large for them`
      : "";
  return { reason: `the weights may be damaged${fromRequest}` };
}
