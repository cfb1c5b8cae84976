/*
 * How many bytes of freed buffers MLX keeps on the CPU. Fresh buffers cost a page fault for every 4 kB, which adds up
 * to a tenth of a denoising step and a fifth of the time of an encoder, so buffers are kept if the next computation
 * needs the same sizes.
 */
import type { DeviceType } from "@mflux-depth/mlx";
import { machineMemory } from "./machine.js";

/**
 * Limits of MLX's cache of freed buffers, in bytes. At all other times the limit from before applies: the user's, or MLX's own,
 * which is 32 MiB on a CPU.
 */
export interface BufferCache {
  /** Between transformer blocks: the buffers of one block. */
  readonly stepping: number;
  /** While tensors are quantized one after another: about the tensors of one block. */
  readonly quantizing: number;
  /** While depth is estimated: the buffers of one layer of an encoder. */
  readonly estimating: number;
}

/**
 * The limits for an instance: the user's at all times, if there is one; otherwise at most a twelfth of the machine's
 * memory.
 * @param limit the user's limit, in bytes.
 * @returns null on a GPU, where MLX's own limit is left alone.
 */
export function bufferCacheFor(device: DeviceType, limit: number | undefined): BufferCache | null {
  if (device !== "cpu") return null;
  if (limit !== undefined) return { stepping: limit, quantizing: limit, estimating: limit };
  const stepping = Math.floor(Math.min(2e9, machineMemory("cpu").total / 12));
  return {
    stepping,
    quantizing: Math.min(3e8, stepping),
    estimating: Math.min(5e8, stepping),
  };
}
