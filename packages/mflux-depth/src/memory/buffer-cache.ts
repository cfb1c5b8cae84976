import { machineMemory } from "./machine.js";

/*
 * How many bytes of freed buffers MLX keeps on the CPU. A fresh buffer costs a page fault every 4 kB, about a tenth of
 * a denoising step, so buffers are kept where the next piece of work needs the same sizes again.
 */

/** Between transformer blocks: the buffers of one block, within a twelfth of the machine's memory. */
export const steppingCacheBytes = (): number => Math.floor(Math.min(2e9, machineMemory("cpu").total / 12));

/** While tensors are quantized one after another: the tensors of one block. */
export const quantizingCacheBytes = (): number => Math.min(3e8, steppingCacheBytes());

/** Otherwise: MLX's own limit on the CPU. */
export const restingCacheBytes = 32 * 2 ** 20;
