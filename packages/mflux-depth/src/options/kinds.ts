import type { AdapterInput, ImageInput, ModelReference, TensorInput } from "./values.js";

/** The values that an option may have. */
export type OptionKind =
  /** Not blank, unless `blank`; at most `max` characters (Unicode code points). */
  | { readonly type: "text"; readonly blank?: boolean; readonly max?: number }
  /** `floorTo`: floored to a multiple of it when a request is resolved. */
  | { readonly type: "integer"; readonly min: number; readonly max: number; readonly floorTo?: number }
  | { readonly type: "number"; readonly min: number; readonly max?: number; readonly exclusiveMin?: boolean }
  | { readonly type: "choice"; readonly values: readonly (string | number)[] }
  | { readonly type: "boolean" }
  | { readonly type: "model" }
  | { readonly type: "image" }
  | { readonly type: "tensor" }
  /** Any number of adapters, each with a strength in this range. */
  | { readonly type: "adapters"; readonly scale: NumberRange }
  | { readonly type: "numbers"; readonly each: NumberRange };

interface NumberRange {
  readonly min: number;
  readonly max: number;
}

/** The type of the values of a kind. */
export type ValueOfKind<K extends OptionKind> = K extends { type: "choice"; values: readonly (infer V)[] }
  ? V
  : K extends { type: "integer" | "number" }
    ? number
    : K extends { type: "boolean" }
      ? boolean
      : K extends { type: "model" }
        ? string | ModelReference
        : K extends { type: "image" }
          ? ImageInput
          : K extends { type: "tensor" }
            ? TensorInput
            : K extends { type: "adapters" }
              ? readonly AdapterInput[]
              : K extends { type: "numbers" }
                ? readonly number[]
                : string;

/** Describes the values of a kind: "a whole number from 1 to 50". */
export function describeKind(kind: OptionKind): string {
  switch (kind.type) {
    case "text":
      return `non-blank text${kind.max === undefined ? "" : ` of at most ${kind.max} characters`}`;
    case "integer":
      return `a whole number from ${kind.min} to ${kind.max}`;
    case "number":
      if (kind.max === undefined)
        return `a number ${kind.exclusiveMin ? "above" : "of at least"} ${kind.min}`;
      return kind.exclusiveMin
        ? `a number above ${kind.min}, and at most ${kind.max}`
        : `a number from ${kind.min} to ${kind.max}`;
    case "choice":
      return `one of ${kind.values.join(", ")}`;
    case "boolean":
      return "true or false";
    case "model":
      return "a repository (owner/name), a folder, or { repo_id, path, variant, allow_patterns, ignore_patterns }";
    case "image":
      return "a path, the bytes of an encoded image, or { data, width, height, channels }";
    case "tensor":
      return "a Float32Array, or { data, shape } with as many values as the shape says";
    case "adapters":
      return `a list of files, folders or repositories (owner/name or owner/name:file), each alone or as { source, scale } with a scale from ${kind.scale.min} to ${kind.scale.max}`;
    case "numbers":
      return `a list of numbers from ${kind.each.min} to ${kind.each.max}`;
  }
}
