/*
 * The keys of adapter files: a layer's name, in one of many spellings, and a suffix that says what the tensor is.
 */

/** What a tensor is for its layer. Those of LoKr and LoHa have the names of LyCORIS. */
export type AdapterRole =
  /** `A [rank, in]` and `B [out, rank]` of a LoRA. */
  | "down"
  | "up"
  /** An addition to the bias that is scaled like `B A`. */
  | "upBias"
  /** The numerator of the factor alpha / rank. */
  | "alpha"
  /** DoRA's norms of the rows or columns of the adapted matrix. */
  | "magnitude"
  | `lokr_w${1 | 2}`
  | `lokr_w${1 | 2}_${"a" | "b"}`
  | `hada_w${1 | 2}_${"a" | "b"}`
  /** A whole matrix, and a whole bias, to add. */
  | "diff"
  | "diffBias";

/** A key of an adapter file. */
export interface AdapterKey {
  /** The layer's name as the file spells it. */
  readonly module: string;
  readonly role: AdapterRole;
}

const lycoris = ["lokr_w1", "lokr_w2", "hada_w1", "hada_w2"].flatMap((name) => [
  ...(name.startsWith("lokr") ? [name] : []),
  `${name}_a`,
  `${name}_b`,
]) as AdapterRole[];

/** Suffixes with their meaning; a longer suffix comes before any that it ends with. */
const suffixes: readonly (readonly [suffix: string, role: AdapterRole])[] = [
  ...(["", ".default"] as const).flatMap(
    (adapter) =>
      [
        [`.lora_A${adapter}.weight`, "down"],
        [`.lora_B${adapter}.weight`, "up"],
        [`.lora_B${adapter}.bias`, "upBias"],
        [`.lora_magnitude_vector${adapter}.weight`, "magnitude"],
      ] as const,
  ),
  [".lora_magnitude_vector", "magnitude"],
  [".lora_down.weight", "down"],
  [".lora_up.weight", "up"],
  [".lora_up.bias", "upBias"],
  [".lora.down.weight", "down"],
  [".lora.up.weight", "up"],
  [".down.weight", "down"],
  [".up.weight", "up"],
  [".alpha", "alpha"],
  [".dora_scale", "magnitude"],
  ...lycoris.map((role) => [`.${role}`, role] as const),
  [".diff", "diff"],
  [".diff_b", "diffBias"],
];

/** Splits a key into a layer's name and the tensor's role; null if it does not have an adapter's suffix. */
export function parseAdapterKey(key: string): AdapterKey | null {
  const found = suffixes.find(([suffix]) => key.endsWith(suffix) && key.length > suffix.length);
  return found ? { module: key.slice(0, -found[0].length), role: found[1] } : null;
}

/** The layer that a key resizes, in ComfyUI's notation; null for another key. */
export const reshapedModule = (key: string): string | null => /^(.+)\.reshape_weight$/.exec(key)?.[1] ?? null;

/** What a key replaces, as ComfyUI writes it: a layer's weight, or a parameter whose name it ends in; null for another key. */
export const replacedName = (key: string): string | null => /^(.+)\.set_weight$/.exec(key)?.[1] ?? null;

/** Suffixes of unsupported kinds of adapters, with the names of the kinds. */
const foreign: readonly (readonly [pattern: RegExp, kind: string])[] = [
  [/\.(lora_mid\.weight|lokr_t[12]|hada_t[12])$/, "a change to a convolution"],
  [
    /\.(oft_blocks|oft_diag|boft_blocks|rescale|oft_R\.weight)$/,
    "OFT, which rotates weights instead of adding to them",
  ],
  [/\.(on_input|ia3_l)$/, "IA³, which multiplies outputs instead of adding to weights"],
  [/\.(a1|a2|b1|b2|bm|cm)\.weight$/, "GLoRA"],
  [/\.reshape_weight$|_norm\.scale$/, "a replacement of weights"],
  [/\.(w_norm|b_norm)$/, "a change to a normalization"],
];

/** Says which unsupported kind of adapter a key belongs to; null if its suffix is unknown. */
export const foreignKind = (key: string): string | null =>
  foreign.find(([pattern]) => pattern.test(key))?.[1] ?? null;
