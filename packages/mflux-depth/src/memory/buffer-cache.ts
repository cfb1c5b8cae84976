/*
 * How many bytes of freed buffers MLX keeps on the CPU. Fresh buffers cost a page fault for every 4 kB, which adds up to
 * a tenth of a denoising step, so buffers are kept where the next computation needs the same sizes again.
 */
import { machineMemory } from "./machine.js";

/** Between transformer blocks: the buffers of one block, but at most a twelfth of the machine's memory. */
export const steppingCacheBytes = (): number => Math.floor(Math.min(2e9, machineMemory("cpu").total / 12));

/** While tensors are quantized one after another: about the tensors of one block. */
export const quantizingCacheBytes = (): number => Math.min(3e8, steppingCacheBytes());

/** At all other times: MLX's default on the CPU. */
export const restingCacheBytes = 32 * 2 ** 20;
