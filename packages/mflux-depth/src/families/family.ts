/*
 * What a model family is. A family describes its models as data: the components and their configs, how to recognise a
 * repository, how the control image enters the transformer, how latents are packed, the schedule. The pipeline works
 * with any family; adding one means adding a folder here and an entry in registry.ts.
 */
import type { MxArray } from "@mflux-depth/mlx";
import type { Module } from "@mflux-depth/mlx/nn";
import type { ModelError } from "../errors.js";
import type { RepositoryKind } from "../hub/kind.js";
import type { Autoencoder, AutoencoderConfig } from "../models/autoencoder.js";
import type { ClipTextConfig, ClipTextEncoder } from "../models/clip.js";
import type { FluxTransformer, FluxTransformerConfig } from "../models/flux-transformer.js";
import type { T5Config, T5Encoder } from "../models/t5.js";
import type { LatentGrid, LatentPacking } from "../sampling/latents.js";
import type { SchedulerConfig } from "../sampling/schedule.js";

/** The networks of a model, under the names of their folders in a repository. */
export interface Networks {
  readonly text_encoder: ClipTextEncoder;
  readonly text_encoder_2: T5Encoder;
  readonly transformer: FluxTransformer;
  readonly vae: Autoencoder;
}

export type ComponentName = keyof Networks;

/** The folders of the networks, in the order of a generation. */
export const componentNames = [
  "text_encoder",
  "text_encoder_2",
  "transformer",
  "vae",
] as const satisfies readonly ComponentName[];

/** The configs of a model: one for each network, and the scheduler's. */
export interface ModelConfigs {
  readonly text_encoder: ClipTextConfig;
  readonly text_encoder_2: T5Config;
  readonly transformer: FluxTransformerConfig;
  readonly vae: AutoencoderConfig;
  readonly scheduler: SchedulerConfig;
}

/** How one component of a family is made. */
export interface ComponentDescriptor<Config, Network extends Module> {
  /**
   * Reads the component's `config.json`.
   * @param source the file, for messages.
   * @throws {ModelError} when it is another model's, or its values do not fit together.
   */
  readonly readConfig: (json: unknown, source: string) => Config;
  /** Makes the network without weights. */
  readonly build: (config: Config) => Network;
  /** The network's name for a tensor of the checkpoint; null for tensors it does not use. */
  readonly rename?: (key: string) => string | null;
  /** Multiplies quantized weights with 8-bit inputs where the machine can. */
  readonly int8?: boolean;
  /** Computes in float32 where float16 was requested, because its values outgrow float16. */
  readonly float32InsteadOfFloat16?: boolean;
}

export type ComponentDescriptors = {
  readonly [Name in ComponentName]: ComponentDescriptor<ModelConfigs[Name], Networks[Name]>;
};

/** Config values that follow from the shapes of tensors, by component. */
export type ConfigsFromShapes = Readonly<
  Record<ComponentName, Readonly<Record<string, number | boolean | readonly number[]>>>
>;

export interface Family {
  /** A stable name for programs: "flux1-depth". */
  readonly id: string;
  /** The name in messages. */
  readonly name: string;
  /** A repository wanted as a whole model. */
  readonly kind: RepositoryKind;
  /** A folder with the configs of the published model. */
  readonly publishedConfigs: string;
  readonly components: ComponentDescriptors;
  /**
   * Reads the scheduler's config.
   * @throws {ModelError} when it is for another scheduler, or its values do not fit together.
   */
  readonly readSchedulerConfig: (json: unknown, source: string) => SchedulerConfig;
  /** How latents become the transformer's tokens. */
  readonly packing: LatentPacking;

  /** Tells whether a folder may hold a model of this family or of its relatives, complete or not. */
  isCandidate(folder: string): boolean;

  /**
   * Explains why a folder does not hold a model of this family, from file names and configs; null when it does.
   * @param configs the folder with configs and scheduler, where they are not next to the weights.
   */
  refusal(folder: string, configs?: string): ModelError | null;

  /**
   * Derives config values from the shapes of a model in mflux's layout, which has no configs.
   * @throws {ModelError} when a tensor is missing, or the shapes are those of another family.
   */
  configsFromShapes(folder: string): ConfigsFromShapes;

  /** The latent grid of an image of `width × height` pixels. */
  latentGrid(size: { readonly width: number; readonly height: number }, configs: ModelConfigs): LatentGrid;

  /** How many pixels, along each side, one packed latent covers: sizes must be multiples of it. */
  pixelsPerToken(configs: ModelConfigs): number;

  /**
   * Joins packed latents with the packed control latents, both `[1, tokens, channels]`, as the transformer takes them:
   * `[1, tokens, inChannels]`.
   */
  joinControl(latents: MxArray, control: MxArray): MxArray;
}
