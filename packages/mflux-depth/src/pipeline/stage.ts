/*
 * A stage of a generation, as data: its name, the artifacts it reads and makes, the components it uses, its working
 * memory, and its code. The runner executes stages and manages memory by these declarations; the planner adds them up.
 */
import type { MxArray } from "@mflux-depth/mlx";
import type { Module } from "@mflux-depth/mlx/nn";
import type { DepthEstimate } from "../depth/estimate.js";
import type { DepthEstimator } from "../depth/estimator.js";
import type { Family, PromptEmbeddings } from "../families/family.js";
import type { DecodedImage, FloatImage } from "../images/types.js";
import type { ResolvedRequest } from "../options/index.js";
import type { LatentGrid } from "../sampling/latents.js";
import type { Checkpoint } from "./checkpoint.js";
import type { PreviewKind, StageName, StepEvent } from "./events.js";
import type { LastArtifact } from "./last-artifact.js";
import type { Model } from "./model/model.js";
import type { FastPreviews } from "./previews/fast-previews.js";
import type { PromptCache } from "./prompt-cache.js";
import type { Latents, Picture } from "./result.js";
import type { Warnings } from "./warnings.js";

/** The facts about a request that determine its stages and their memory. */
export interface Workload {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** The maximum number of prompt tokens in the transformer, padding included. */
  readonly textTokens: number;
  /** Whether the depth of a photo is estimated. */
  readonly estimatesDepth: boolean;
  /** Whether the generation starts from a photo instead of noise alone, or keeps parts of one. */
  readonly startsFromPhoto: boolean;
  /** The number of denoising steps: 0 if the latents are only decoded, without a prompt. */
  readonly steps: number;
  /** How step previews are made; null for none. */
  readonly previews: PreviewKind | null;
}

/** The decoded images of a request. */
export interface RequestImages {
  /** The given depth map; null if the depth is estimated from the photo. */
  readonly depthMap: DecodedImage | null;
  /** The photo to estimate the depth of, to start from, or both; null if neither is needed. */
  readonly photo: DecodedImage | null;
  /** The parts of the photo that change, of the photo's size: 1 where they do; null for all. */
  readonly mask: DecodedImage | null;
}

/** One generation: the inputs and the context of its stages. */
export interface Generation {
  readonly request: ResolvedRequest;
  readonly workload: Workload;
  readonly model: Model;
  readonly images: RequestImages;
  /** Estimates the photo's depth; null if no estimate is needed. */
  readonly estimator: DepthEstimator | null;
  readonly prompts: PromptCache;
  readonly controls: LastArtifact<Artifacts["control"]>;
  readonly fastPreviews: FastPreviews;
  readonly grid: LatentGrid;
  /** The noise levels of the whole generation, one more than it has steps. */
  readonly noiseLevels: Float32Array;
  /** Steps from one preview to the next; 0 for no previews. */
  readonly previewEvery: number;
  /** Whether step events carry the latents and the depth map. */
  readonly withLatents: boolean;
  /** The state from which the generation continues; null if it starts from the beginning. */
  readonly resume: Checkpoint | null;
  readonly signal: AbortSignal;
  readonly warnings: Warnings;
}

/** The outputs that later stages read. The artifact of a skipped stage is null. */
export interface Artifacts {
  readonly prompt: PromptEmbeddings | null;
  readonly estimate: DepthEstimate | null;
  readonly control: {
    /** The depth map that guides the geometry, at the size of the image. */
    readonly depthMap: FloatImage;
    /** Control latents, packed: `[1, tokens, channels]` float32. */
    readonly latents: MxArray;
  };
  /** The photo's packed latents, `[1, tokens, channels]` float32. */
  readonly start: MxArray | null;
  /** The final packed latents, `[1, tokens, channels]` float32. */
  readonly latents: MxArray;
  readonly decoded: { readonly image: Picture; readonly latents: Latents };
}

/** Owns artifacts that survive a generation. */
interface ArtifactCache {
  /** Frees them. */
  clear(): void;
}

/** The name under which stages borrow the depth estimator. All other names are those of the family's components. */
export const estimatorName = "estimator";

/** What a stage borrows by a name: the depth estimator, or the network of a component. */
export type Borrowed<Name extends string> = Name extends typeof estimatorName ? DepthEstimator : Module;

/** Components on loan to a stage. Disposing the loan returns them; the runner frees those that are no longer needed. */
export type Loan<Name extends string> = { readonly [N in Name]: Borrowed<N> } & Disposable;

/** Lends a stage the components that it declares. */
export interface ComponentLender {
  /**
   * Lends the components of the stage's next declared use, reading their weights if necessary.
   * @throws {ModelError} when weights are missing or damaged.
   * @throws {Error} if the stage did not declare these components for its next use.
   */
  borrow<Name extends string>(...names: Name[]): Promise<Loan<Name>>;
}

/** The facts that a stage's memory depends on, in addition to the workload. */
export interface PlanContext {
  readonly model: Model;
  readonly estimator: DepthEstimator | null;
  /** Bytes left for the stage while its weights are held. */
  readonly room: number;
}

/** A stage of a generation, see the top of this file. */
export interface Stage<
  Input extends keyof Artifacts = keyof Artifacts,
  Output extends keyof Artifacts = keyof Artifacts,
> {
  readonly name: StageName;
  readonly reads: readonly Input[];
  readonly makes: Output;
  /** Whether a generation has this stage; by default, every generation has it. */
  applies?(workload: Workload): boolean;
  /** Lists the components that are in memory at the same time, once for each use, in order. At least one list. */
  uses(workload: Workload, family: Family): readonly (readonly string[])[];
  /** Frees its components under every memory policy, because the next generation rarely needs them. */
  readonly transient?: boolean;
  /** The cache that owns the output, and keeps it for the next generation if the memory policy allows. */
  cache?(generation: Generation): ArtifactCache;
  /** The bytes that the cache keeps for the next generation. */
  keeps?(workload: Workload, model: Model): number;
  /** Estimates the bytes that it computes with, weights excluded. */
  workingMemory(workload: Workload, context: PlanContext): number;
  /** Makes the output. A stage with steps is a generator that yields after each step. */
  run(
    inputs: Pick<Artifacts, Input>,
    generation: Generation,
    components: ComponentLender,
  ): Promise<Artifacts[Output]> | AsyncGenerator<StepEvent, Artifacts[Output], void>;
}

/** Defines a stage; the compiler checks its code against the artifacts that it declares. */
export const defineStage = <Input extends keyof Artifacts, Output extends keyof Artifacts>(
  stage: Stage<Input, Output>,
): Stage<Input, Output> => stage;
