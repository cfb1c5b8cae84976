import type { Family } from "../families/family.js";
import type { ComponentUse } from "../memory/lifetimes.js";
import type { Stage, Workload } from "./stage.js";
import { control } from "./stages/control.js";
import { decode } from "./stages/decode.js";
import { denoise } from "./stages/denoise.js";
import { depth } from "./stages/depth.js";
import { image } from "./stages/image.js";
import { text } from "./stages/text.js";

/** The recipe of a generation: every stage, in order. */
const recipe: readonly Stage[] = [text, depth, control, image, denoise, decode];

/** The stages of a workload. The runner executes them; the planner adds up their memory. */
export const stagesOf = (workload: Workload): readonly Stage[] =>
  recipe.filter((stage) => stage.applies?.(workload) ?? true);

/** The uses of components in one stage, in order. */
export const usesOf = (stage: Stage, workload: Workload, family: Family): readonly ComponentUse[] =>
  stage.uses(workload, family).map((components) => ({
    components,
    ...(stage.transient && { transient: true }),
  }));
