import { fileURLToPath } from "node:url";
import { loadSafetensors, type MxArray } from "../../src/index.js";

/** Tensors computed by MLX in Python. */
export const goldenFile = fileURLToPath(new URL("../../../test/golden/mlx.safetensors", import.meta.url));

/** The tensors of {@link goldenFile} by name. */
export const golden: ReadonlyMap<string, MxArray> = loadSafetensors(goldenFile).arrays;
