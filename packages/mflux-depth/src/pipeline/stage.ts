/*
 * What a stage of a generation is. A stage is data: its name, what it reads and makes, the components it uses, its
 * working memory, and its code. The runner loads and frees by these declarations, and the planner adds them up.
 */
import type { MxArray } from "@mflux-depth/mlx";
import type { DepthEstimate } from "../depth/estimate.js";
import type { DepthEstimator } from "../depth/estimator.js";
import type { ComponentName, Networks } from "../families/family.js";
import type { DecodedImage } from "../images/types.js";
import type { ResolvedRequest } from "../options/index.js";
import type { LatentGrid } from "../sampling/latents.js";
import type { StageName, StepEvent, Warnings } from "./events.js";
import type { Model } from "./model.js";
import type { PromptCache, PromptEmbeddings } from "./prompt-cache.js";
import type { DepthMap, Latents, Picture } from "./result.js";

/** The facts about a generation that decide its stages and their memory. */
export interface Workload {
  readonly width: number;
  readonly height: number;
  readonly maxSequenceLength: number | undefined;
  /** Whether the depth of a photo is estimated. */
  readonly estimatesDepth: boolean;
  /** Whether the generation starts from a photo instead of noise. */
  readonly startsFromPhoto: boolean;
  readonly previews: boolean;
}

/** The images of a request, decoded: a depth map, or a photo to estimate one from; a photo to start from. */
export interface RequestImages {
  readonly depthMap: DecodedImage | null;
  readonly photo: DecodedImage | null;
}

/** One generation: what its stages work from. */
export interface Generation {
  readonly request: ResolvedRequest;
  readonly workload: Workload;
  readonly model: Model;
  readonly images: RequestImages;
  /** Estimates the photo's depth; null when the request needs no estimate. */
  readonly estimator: DepthEstimator | null;
  readonly prompts: PromptCache;
  readonly grid: LatentGrid;
  /** Steps between previews; 0 for none. */
  readonly previewEvery: number;
  /** Whether steps carry their latents. */
  readonly withLatents: boolean;
  /** The limit of MLX's buffer cache is the user's own. */
  readonly hasCacheLimit: boolean;
  readonly signal: AbortSignal;
  readonly warnings: Warnings;
}

/** What stages make and read. Skipped stages make null. */
export interface Artifacts {
  readonly prompt: PromptEmbeddings;
  readonly estimate: DepthEstimate | null;
  readonly control: {
    /** The map that guides the geometry, at the size of the image. */
    readonly depthMap: DepthMap;
    /** Packed, `[1, tokens, channels]` float32. */
    readonly latents: MxArray;
  };
  /** The photo's packed latents, `[1, tokens, channels]` float32. */
  readonly start: MxArray | null;
  /** The final packed latents, `[1, tokens, channels]` float32. */
  readonly latents: MxArray;
  readonly decoded: { readonly image: Picture; readonly latents: Latents };
}

/** Everything a stage can use: the networks of a model, and the depth estimator. */
export interface Loadable extends Networks {
  readonly depth: DepthEstimator;
}

export type LoadableName = ComponentName | "depth";

/** Components on loan to a stage. Disposing returns them: what the memory policy does not keep is freed. */
export type Loan<Name extends LoadableName> = Pick<Loadable, Name> & Disposable;

/** Gives a stage the components that it declared. */
export interface ComponentLender {
  /**
   * Loads the components of the stage's next use.
   * @throws {ModelError} when their weights are missing or damaged.
   */
  borrow<Name extends LoadableName>(...names: Name[]): Promise<Loan<Name>>;
}

/** What the planner knows of the model and the machine. */
export interface PlanContext {
  readonly model: Model;
  readonly estimator: DepthEstimator | null;
  /** Bytes that remain for the stage while its weights are held. */
  readonly room: number;
}

export interface Stage<
  Input extends keyof Artifacts = keyof Artifacts,
  Output extends keyof Artifacts = keyof Artifacts,
> {
  readonly name: StageName;
  readonly reads: readonly Input[];
  readonly makes: Output;
  /** Whether a generation has this stage; always by default. */
  applies?(workload: Workload): boolean;
  /** The components it uses: those of one list at the same time, the lists one after another. */
  uses(workload: Workload): readonly (readonly LoadableName[])[];
  /** Frees its components under every memory policy, because the next generation rarely needs them again. */
  readonly transient?: boolean;
  /** The output belongs to a cache that outlives the generation, which frees it. */
  readonly makesShared?: boolean;
  /** Estimates the bytes that it computes with, weights aside. */
  workingMemory(workload: Workload, context: PlanContext): number;
  /** Makes the output. A stage with steps is a generator that yields after each. */
  run(
    inputs: Pick<Artifacts, Input>,
    generation: Generation,
    components: ComponentLender,
  ): Promise<Artifacts[Output]> | AsyncGenerator<StepEvent, Artifacts[Output], void>;
}

/** Checks a stage's declaration and its code against each other. */
export const defineStage = <Input extends keyof Artifacts, Output extends keyof Artifacts>(
  stage: Stage<Input, Output>,
): Stage<Input, Output> => stage;
