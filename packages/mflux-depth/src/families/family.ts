/*
 * A model family, described as data: the configs and conversions of its components, how to recognise a repository, how
 * control latents enter the transformer, how latents are packed, how the schedule is read. The pipeline works with any
 * family that has these four networks; docs/architecture.md says what another network would touch.
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
import type { AdapterNames } from "../weights/adapters/targets.js";

/** The networks of a model, by their folder in a repository. */
export interface Networks {
  readonly text_encoder: ClipTextEncoder;
  readonly text_encoder_2: T5Encoder;
  readonly transformer: FluxTransformer;
  readonly vae: Autoencoder;
}

export type ComponentName = keyof Networks;

/** The networks' folders, in the order of a generation. */
export const componentNames = [
  "text_encoder",
  "text_encoder_2",
  "transformer",
  "vae",
] as const satisfies readonly ComponentName[];

/** The configs of a model: one for each network, and one for the scheduler. */
export interface ModelConfigs {
  readonly text_encoder: ClipTextConfig;
  readonly text_encoder_2: T5Config;
  readonly transformer: FluxTransformerConfig;
  readonly vae: AutoencoderConfig;
  readonly scheduler: SchedulerConfig;
}

/** How to make one component of a family. */
export interface ComponentDescriptor<Config, Network extends Module> {
  /**
   * Reads the component's `config.json`.
   * @param source the file, for messages.
   * @throws {ModelError} when it is the config of another network, or its values contradict each other.
   */
  readonly readConfig: (json: unknown, source: string) => Config;
  /** Makes the network without weights. */
  readonly build: (config: Config) => Network;
  /** Translates a checkpoint's tensor name into the network's; null for tensors that the network does not use. */
  readonly rename?: (key: string) => string | null;
  /** Multiplies quantized weights by 8-bit inputs where the machine can. */
  readonly int8?: boolean;
  /** Computes in float32 when float16 is requested, because its activations exceed the range of float16. */
  readonly float32InsteadOfFloat16?: boolean;
}

type ComponentDescriptors = {
  readonly [Name in ComponentName]: ComponentDescriptor<ModelConfigs[Name], Networks[Name]>;
};

/** Config values derived from the shapes of tensors, by component. */
export type ConfigsFromShapes = Readonly<
  Record<ComponentName, Readonly<Record<string, number | boolean | readonly number[]>>>
>;

/** The part of a family that needs no MLX. */
export interface FamilyDescription {
  /** A stable name for programs: "flux1-depth". */
  readonly id: string;
  /** The name for messages: "FLUX.1 Depth". */
  readonly name: string;
  /** Selects and checks the files of a whole model on the Hub. */
  readonly kind: RepositoryKind;
  /** Selects only the configs, for a model that was saved without them. */
  readonly configsKind: RepositoryKind;
}

export interface Family extends FamilyDescription {
  /** A folder with the configs of the published model, for weights that were saved without them. */
  readonly publishedConfigs: string;
  readonly components: ComponentDescriptors;
  /** The folder of each text encoder's tokenizer. */
  readonly tokenizers: Readonly<Record<"text_encoder" | "text_encoder_2", string>>;
  /**
   * Reads the scheduler's config.
   * @throws {ModelError} when it is the config of another scheduler, or a value is invalid.
   */
  readonly readSchedulerConfig: (json: unknown, source: string) => SchedulerConfig;
  /** How latents become tokens of the transformer. */
  readonly packing: LatentPacking;

  /** Tells whether a folder may hold a model of this family or of its relatives, complete or not. */
  isCandidate(folder: string): boolean;

  /**
   * Explains, from file names and configs, why a folder does not hold a model of this family; null if it does.
   * @param configs the folder with configs and scheduler, if they are not next to the weights.
   */
  refusal(folder: string, configs?: string): ModelError | null;

  /**
   * Derives config values from the shapes of a model in mflux's layout, which has no configs.
   * @throws {ModelError} when a tensor is missing, or the shapes belong to another family.
   */
  configsFromShapes(folder: string): ConfigsFromShapes;

  /** Resolves the names that adapter files give to the layers of a model. */
  adapterNames(configs: ModelConfigs): AdapterNames;

  /** The latent grid of an image. `width` and `height` are in pixels, multiples of {@link pixelsPerToken}. */
  latentGrid(size: { readonly width: number; readonly height: number }, configs: ModelConfigs): LatentGrid;

  /** The side of the square of pixels that one token covers: 16 for FLUX.1. Sizes must be multiples of it. */
  pixelsPerToken(configs: ModelConfigs): number;

  /**
   * Joins packed latents and control latents, both `[1, tokens, channels]`, to the input of the transformer,
   * `[1, tokens, inChannels]`.
   */
  joinControl(latents: MxArray, control: MxArray): MxArray;
}
