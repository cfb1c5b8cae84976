import { astype, type DType, loadSafetensors } from "@mflux-depth/mlx";
import { OptionError } from "../errors.js";
import type { ShapedTensor } from "../options/index.js";

/**
 * Reads the initial noise from a safetensors file: the tensor `noise`, else `latents`, else the file's only tensor.
 * @returns the values and the shape, which should be `[1, channels, height / 8, width / 8]`.
 * @throws {OptionError} when the file cannot be read or has no such tensor of floating-point numbers.
 */
export function readLatents(path: string): ShapedTensor {
  const { arrays } = open(path);
  try {
    const only = arrays.size === 1 ? [...arrays.values()][0] : undefined;
    const found = arrays.get("noise") ?? arrays.get("latents") ?? only;
    if (found?.shape.length !== 4)
      throw new OptionError(
        "latents",
        `${path}: expected a tensor named noise, [1, 16, height/8, width/8], but the file has ${describe(arrays)}.`,
      );
    if (!floating.has(found.dtype))
      throw new OptionError(
        "latents",
        `${path}: expected floating-point numbers, but the tensor holds ${found.dtype}.`,
      );
    using floats = astype(found, "float32");
    return { data: Float32Array.from(floats.toTypedArray() as Float32Array), shape: [...found.shape] };
  } finally {
    for (const tensor of arrays.values()) tensor.dispose();
  }
}

const floating: ReadonlySet<DType> = new Set(["float32", "bfloat16", "float16", "float64"]);

function open(path: string): ReturnType<typeof loadSafetensors> {
  try {
    return loadSafetensors(path);
  } catch (error) {
    throw new OptionError("latents", (error as Error).message.replace(/^safetensors: /, ""), {
      cause: error,
    });
  }
}

/** Names and shapes of the first tensors, for messages. */
function describe(arrays: ReadonlyMap<string, { readonly shape: readonly number[] }>): string {
  const most = 3;
  const shown = [...arrays].slice(0, most).map(([name, { shape }]) => `${name} [${shape.join(", ")}]`);
  if (shown.length === 0) return "no tensors";
  return `${shown.join(", ")}${arrays.size > most ? ` and ${arrays.size - most} more` : ""}`;
}
