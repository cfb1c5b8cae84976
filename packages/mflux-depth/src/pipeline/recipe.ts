import type { LoadableName, Stage, Workload } from "./stage.js";
import { control } from "./stages/control.js";
import { decode } from "./stages/decode.js";
import { denoise } from "./stages/denoise.js";
import { depth } from "./stages/depth.js";
import { image } from "./stages/image.js";
import { text } from "./stages/text.js";

/** The recipe of a generation. The runner executes this list; the planner adds up its memory. */
export const recipe: readonly Stage[] = [text, depth, control, image, denoise, decode];

/** The stages that a workload has. */
export const stagesOf = (workload: Workload): readonly Stage[] =>
  recipe.filter((stage) => stage.applies?.(workload) ?? true);

/** A stage's use of components, for {@link lifetimesOf}. */
export interface StageUse {
  readonly stage: string;
  readonly components: readonly LoadableName[];
  readonly transient?: boolean;
}

/** The uses of components in one stage, in their order. */
export const usesOf = (stage: Stage, workload: Workload): readonly StageUse[] =>
  stage.uses(workload).map((components) => ({
    stage: stage.name,
    components,
    ...(stage.transient && { transient: true }),
  }));
