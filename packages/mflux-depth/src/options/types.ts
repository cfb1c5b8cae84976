/*
 * The types of requests and load options, derived from the tables.
 */
import type { ValueOfKind } from "./kinds.js";
import type { depthOptions, loadOptions, OptionTable, requestOptions } from "./table.js";

type RequestTable = typeof requestOptions;
type LoadTable = typeof loadOptions;
type DepthTable = typeof depthOptions;

export type RequestOption = keyof RequestTable;
export type LoadOption = keyof LoadTable;
export type DepthOption = keyof DepthTable;

type ValueOf<Spec extends OptionTable[string]> = ValueOfKind<Spec["kind"]>;

/** Options given by a caller. `null` counts as omitted. */
export type GivenOptions<T extends OptionTable> = {
  readonly [K in keyof T]?: ValueOf<T[K]> | null | undefined;
};

/** Options with every value checked and filled in; those without a default may be undefined. */
export type ResolvedOptions<T extends OptionTable> = {
  readonly [K in keyof T]:
    | ValueOf<T[K]>
    | (T[K] extends { default: unknown } | { required: true } ? never : undefined);
};

/** An image to generate. Everything has a default except the prompt and one of the two images. */
export interface GenerateRequest extends Omit<GivenOptions<RequestTable>, "prompt"> {
  /** What to draw; the geometry comes from the depth map. */
  readonly prompt: string;
}

/** A request with every value checked and filled in. */
export interface ResolvedRequest extends ResolvedOptions<RequestTable> {
  /** 0 if no photo guides the content. */
  readonly imageStrength: number;
  /** A multiple of 16. */
  readonly width: number;
  /** A multiple of 16. */
  readonly height: number;
  /** Never 0: a random seed has been drawn instead. */
  readonly seed: number;
  /** Undefined: `longestPrompt` or the tokenizer's limit, whichever is lower. */
  readonly maxSequenceLength: number | undefined;
  /** One sentence for each value that was changed or has no effect. */
  readonly warnings: readonly string[];
}

/** A family's defaults for a request, which override the table's. */
export type RequestDefaults = Partial<
  Pick<ResolvedRequest, "steps" | "guidance" | "width" | "height" | "maxSequenceLength">
>;

/** Which weights, and how they are held. */
export interface LoadOptions extends GivenOptions<LoadTable> {}

export type Bits = Exclude<ValueOf<LoadTable["quantize"]>, "none">;
export type DTypeName = ValueOf<LoadTable["dtype"]>;
export type DeviceName = ValueOf<LoadTable["device"]>;
export type MemoryPolicy = ValueOf<LoadTable["memory"]>;

/** A LoRA with its strength filled in. */
export interface ResolvedAdapter {
  readonly source: string;
  readonly scale: number;
}

/** Load options with every value checked and filled in; undefined if the machine decides. */
export interface ResolvedLoadOptions
  extends Omit<ResolvedOptions<LoadTable>, "model" | "quantize" | "loras"> {
  /** A repository, a folder, or "tiny-world". */
  readonly model: string;
  /** The model's folder in the repository. */
  readonly path: string | undefined;
  readonly allowPatterns: readonly string[];
  readonly ignorePatterns: readonly string[];
  /** Null: not quantized. */
  readonly quantize: Bits | null;
  readonly loras: readonly ResolvedAdapter[];
}
