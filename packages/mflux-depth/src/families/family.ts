/*
 * A model family, described as data: its components with their configs and conversions, how to recognise a repository, how
 * prompts are encoded, how the control latents enter the transformer, how latents are packed, the schedule, and the
 * defaults of a request. The pipeline works with any family and knows components only by their names.
 */
import type { MxArray } from "@mflux-depth/mlx";
import type { Module, Stages } from "@mflux-depth/mlx/nn";
import type { ModelError } from "../errors.js";
import type { RepositoryKind } from "../hub/kind.js";
import type { Arithmetic } from "../models/layer-plan.js";
import type { RequestDefaults } from "../options/index.js";
import type { LatentGrid, LatentPacking } from "../sampling/latents.js";
import type { Tokenizer } from "../tokenizers/prompt-encoder.js";
import type { AdapterFile } from "../weights/adapters/adapter-file.js";
import type { AdapterNames } from "../weights/adapters/targets.js";
import type { Checkpoint } from "../weights/format.js";
import type { BlockOptions } from "../weights/gguf/checkpoint.js";
import type { SavedNames } from "../weights/mflux.js";

/** The networks of a model by component, which is also the name of its folder: "transformer". */
export type Networks = Readonly<Record<string, Module>>;

/** The configs of a model: one for each component, and the scheduler's. Only the family knows their types. */
export type ModelConfigs = Readonly<Record<string, unknown>>;

/** Describes how to make one component of a family. */
export interface ComponentDescriptor<Config = unknown, Network extends Module = Module> {
  /**
   * Reads the component's `config.json`.
   * @param source the file, for messages.
   * @throws {ModelError} when it is the config of another network, or its values contradict each other.
   */
  readConfig(json: unknown, source: string): Config;
  /** Builds the network without weights. */
  build(config: Config): Network;
  /** Translates a checkpoint's tensor name into the network's; null for tensors that the network does not use. */
  readonly rename?: (key: string) => string | null;
  /** mflux's names of its tensors, if they differ from those of diffusers and transformers. */
  readonly savedNames?: SavedNames<Config>;
  /**
   * Opens its weights from a separate file, under the names of a checkpoint in a folder.
   * @throws {ModelError} when the file is damaged or in an unsupported format.
   */
  openFile?(path: string, options?: BlockOptions): Checkpoint;
  /** Whether to multiply quantized weights by 8-bit inputs on machines that support it. */
  readonly int8?: boolean;
  /** Whether to compute in float32 when float16 is requested, because activations exceed the range of float16. */
  readonly float32InsteadOfFloat16?: boolean;
}

/** How a family encodes prompts with one of its components. */
export interface TextEncoding<Configs = ModelConfigs, Network extends Module = Module> {
  readonly component: string;
  /** The encoder's name for messages: "CLIP". */
  readonly name: string;
  /** The name of its output, for messages: "the pooled embeddings". */
  readonly makes: string;
  /** Whether the transformer attends to each token of its output, rather than to one embedding of the whole prompt. */
  readonly attended: boolean;
  /** The tokenizer's folder in a repository. */
  readonly tokenizer: string;
  /**
   * Opens the tokenizer.
   * @param folder the tokenizer's folder.
   * @param configs the configs of the model's networks.
   * @throws {ModelError} when its files are missing or damaged, or do not fit the encoder.
   */
  openTokenizer(folder: string, configs: Configs): Tokenizer;
  /** Encodes the tokens of a prompt. */
  encode(network: Network, ids: Int32Array): Stages;
  /** Estimates the bytes for encoding, weights excluded; omitted for an encoder that takes less than another. */
  workingMemory?(configs: Configs, tokens: number, bytesPerValue: number): number;
}

/** A prompt in the transformer's form. */
export interface PromptEmbeddings {
  /** The output of each text encoder, by component. */
  readonly embeddings: Readonly<Record<string, MxArray>>;
  /** The number of tokens that the transformer attends to, padding included. */
  readonly tokens: number;
}

/** The inputs of denoising that are the same in every step. */
export interface DenoisingInputs<Configs = ModelConfigs> {
  readonly configs: Configs;
  readonly grid: LatentGrid;
  readonly prompt: PromptEmbeddings;
  /** Packed latents of the depth map, `[1, tokens, channels]` float32. */
  readonly control: MxArray;
  readonly guidance: number;
}

/** Predicts a network's velocity. Disposing it frees its preparations, but not the inputs. */
export interface Velocity extends Disposable {
  /** Maps packed latents `[1, tokens, channels]` and their noise level to the velocity, of the same shape. */
  stages(latents: MxArray, sigma: number): Stages;
}

/** How a family denoises with one of its components. */
export interface Denoising<Configs = ModelConfigs, Network extends Module = Module> {
  readonly component: string;
  /** Joins the control latents with the latents of each step, and predicts the velocity. */
  velocity(network: Network, inputs: DenoisingInputs<Configs>): Velocity;
  /** Estimates the bytes of the activations of one step, weights excluded. */
  workingMemory(
    configs: Configs,
    size: { readonly grid: LatentGrid; readonly textTokens: number },
    bytesPerValue: number,
  ): number;
}

/** How a family converts images to latents and back with one of its components. */
export interface Autoencoding<Configs = ModelConfigs, Network extends Module = Module> {
  readonly component: string;
  /**
   * Encodes images `[1, height, width, 3]` in −1 to 1 to unscaled latents `[1, h, w, channels]`.
   * @param room the bytes it may use; it computes in bands to stay within them.
   */
  encode(network: Network, images: MxArray, room: number): Stages;
  /** Decodes unscaled latents to images; the inverse of {@link encode}. */
  decode(network: Network, latents: MxArray, room: number): Stages;
  /** Scales latents to the range of denoising. */
  scale(latents: MxArray, configs: Configs): MxArray;
  /** The inverse of {@link scale}. */
  unscale(latents: MxArray, configs: Configs): MxArray;
  /** Estimates the bytes that encoding or decoding an image takes, weights excluded; within `room` if possible. */
  workingMemory(
    configs: Configs,
    work: {
      readonly direction: "encode" | "decode";
      /** Pixels. */
      readonly width: number;
      readonly height: number;
      readonly arithmetic: Arithmetic;
      readonly room: number;
    },
  ): number;
}

/** The noise levels of a family's denoising, by flow matching: from 1 (noise alone) to 0 (the image). */
export interface Schedule<Configs = ModelConfigs> {
  /**
   * Reads the scheduler's config.
   * @throws {ModelError} when it is the config of another scheduler, or a value is invalid.
   */
  readConfig(json: unknown, source: string): unknown;
  /**
   * The noise levels of a generation: `steps + 1` sigmas that fall from 1 to 0.
   * @param imageTokens tokens of the packed latents, without the text tokens.
   * @throws {RangeError} when the config gives none at this number of tokens.
   */
  sigmas(steps: number, imageTokens: number, configs: Configs): Float32Array;
}

/** How to read a family's denoising network from one file. */
export interface SingleFile {
  /**
   * Derives the network's config from the shapes of its tensors.
   * @param components the same network's config in the model that provides the other components.
   * @param isBase whether it must be the base model, which a control LoRA widens.
   * @throws {ModelError} when it is another network.
   */
  configOf(
    checkpoint: Checkpoint,
    components: Readonly<Record<string, unknown>>,
    isBase?: boolean,
  ): Readonly<Record<string, unknown>>;
  /** Translates the checkpoint to the network's names. */
  translate(checkpoint: Checkpoint, config: Readonly<Record<string, unknown>>): Checkpoint;
  /** Describes the size of the network: "blocks", "19 double, 38 single". */
  describe(config: Readonly<Record<string, unknown>>): readonly (readonly [label: string, value: string])[];
}

/** How a LoRA adds to a base model the depth control that the family has built in. */
export interface ControlLora {
  /** Whether an adapter file is such a LoRA. */
  matches(file: AdapterFile): boolean;
  /** Who publishes such LoRAs. */
  readonly writtenBy: string;
  /** Explains why a folder does not hold the base model; null if it does. */
  baseRefusal(folder: string): ModelError | null;
  /** The config of the base model's denoising network, with inputs for control latents. */
  widenConfig(config: Readonly<Record<string, unknown>>, source: string): Readonly<Record<string, unknown>>;
  /** The checkpoint of the base model's denoising network, with zeros for those inputs. */
  widen(checkpoint: Checkpoint): Checkpoint;
}

/** Config values derived from the shapes of tensors, by component. */
export type ConfigsFromShapes = Readonly<
  Record<string, Readonly<Record<string, number | boolean | readonly number[]>>>
>;

/** The part of a family that does not need MLX. */
export interface FamilyDescription {
  /** A stable name for programs: "flux1-depth". */
  readonly id: string;
  /** The name for messages: "FLUX.1 Depth". */
  readonly name: string;
  /** Selects and checks the files of a whole model on the Hub. */
  readonly kind: RepositoryKind;
  /** Selects only the configs, for a model that was saved without them. */
  readonly configsKind?: RepositoryKind;
  /** Selects and checks the files of the base model, for a control LoRA. */
  readonly baseKind?: RepositoryKind;
  /** Selects everything except the weights of a denoising network that has its own file. */
  readonly componentsKind?: RepositoryKind;
}

/**
 * A family whose components have the networks `N`, with the configs `C`. Its functions are declared as methods, so that
 * a family with its own types of networks is a `Family`: the pipeline passes back the networks and configs that the
 * family made.
 */
export interface Family<N extends Networks = Networks, C extends ModelConfigs = ModelConfigs>
  extends FamilyDescription {
  /** A folder with the configs of the published model, for weights saved without them. */
  readonly publishedConfigs: string;
  /** The components by name, in the order of a generation. */
  readonly components: {
    readonly [Name in keyof N]: ComponentDescriptor<Name extends keyof C ? C[Name] : never, N[Name]>;
  };
  /** The text encoders, in the order in which they run. */
  readonly text: readonly TextEncoding<C>[];
  readonly denoising: Denoising<C>;
  readonly autoencoding: Autoencoding<C>;
  readonly schedule: Schedule<C>;
  readonly singleFile?: SingleFile;
  readonly controlLora?: ControlLora;
  /** How latents become tokens of the transformer. */
  readonly packing: LatentPacking;
  /** Defaults of a request that differ from those in the table of options. */
  readonly defaults: RequestDefaults;

  /**
   * Checks that the configs of a model's components fit together.
   * @param folder the folder with the configs, for messages.
   * @throws {ModelError} when they belong to different models.
   */
  checkConfigs(configs: C, folder: string): void;

  /** Whether a folder may hold a model of this family or a related one, complete or not. */
  isCandidate(folder: string): boolean;

  /**
   * Explains, from file names and configs, why a folder does not hold a model of this family; null if it does.
   * @param configs the folder with configs and scheduler, if they are not next to the weights.
   */
  refusal(folder: string, configs?: string): ModelError | null;

  /**
   * Derives config values from the shapes of a model in mflux's layout, which has no configs. Without this, such a model
   * needs `configFrom`.
   * @throws {ModelError} when a tensor is missing, or the shapes belong to another family.
   */
  configsFromShapes?(folder: string): ConfigsFromShapes;

  /** Resolves the names that adapter files give to the layers of a model. */
  adapterNames(configs: C): AdapterNames;

  /** The latent grid of an image. `width` and `height` are in pixels, multiples of {@link pixelsPerToken}. */
  latentGrid(size: { readonly width: number; readonly height: number }, configs: C): LatentGrid;

  /** The side of the square of pixels that one token covers: 16 for FLUX.1. Sizes must be multiples of it. */
  pixelsPerToken(configs: C): number;
}

/** A family with a control LoRA. */
export type ControlFamily = Family & { readonly controlLora: ControlLora };

/** The names of a family's components, which are the names of their folders, in the order of a generation. */
export const componentNames = ({ components }: Pick<Family, "components">): readonly string[] =>
  Object.keys(components);
