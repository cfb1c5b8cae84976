import { basename } from "node:path";
import type { ModelFiles } from "../../families/model-files.js";
import { isFile } from "../../files/folders.js";
import type { Bits } from "../../options/index.js";
import { blockUseOf, isGguf } from "../../weights/gguf/checkpoint.js";
import type { ComponentFiles } from "./model.js";

/** What happens to the blocks of a model's GGUF files, one sentence per file and kind. */
export interface BlockNotes {
  /** Blocks that stay unchanged, or that MLX cannot hold. */
  readonly facts: readonly string[];
  /** Blocks that lose more precision than necessary, and the option that keeps them. */
  readonly losses: readonly string[];
}

/**
 * Describes what happens to the blocks of GGUF files. Reads their headers.
 * @param bits to quantize to; null for none.
 * @throws {ModelError} when a file is damaged.
 */
export function blockNotesOf(
  { denoiser }: Pick<ModelFiles, "denoiser">,
  ownFiles: ComponentFiles,
  bits: Bits | null,
): BlockNotes {
  const [facts, losses]: [string[], string[]] = [[], []];
  if (bits === null) return { facts, losses };
  const paths = [...(denoiser ? [denoiser.path] : []), ...Object.values(ownFiles)];
  for (const path of paths.filter((one) => isFile(one) && isGguf(one))) {
    const { kept, lost, unfit, keptFrom } = blockUseOf(path, bits);
    const of = (types: readonly string[]): string => `The ${types.join(", ")} blocks of ${basename(path)}`;
    if (kept.length > 0) facts.push(`${of(kept)} stay as they are.`);
    if (unfit.length > 0)
      facts.push(`${of(unfit)} are quantized again, because MLX has no such quantization.`);
    if (lost.length > 0)
      losses.push(`${of(lost)} are quantized again, to ${bits} bits; quantize ${keptFrom} keeps them.`);
  }
  return { facts, losses };
}
