import { readFileSync } from "node:fs";
import { freemem, totalmem } from "node:os";
import { type DeviceType, defaultDevice, deviceInfo, memory } from "@mflux-depth/mlx";
import { EngineError } from "../errors.js";
import { controlGroup } from "./control-group.js";

/** The memory of this machine, in bytes. */
export interface MachineMemory {
  readonly total: number;
  /** Memory that this process could use now, including what MLX already holds. */
  readonly available: number;
  /** Where the figures come from. */
  readonly source: "memory" | "control group" | "GPU" | "MFLUX_DEPTH_MEMORY_GB";
}

/**
 * Whether the available memory is currently free. On a GPU, and if it is set by hand, it includes memory of other
 * processes.
 */
export const measuresFree = ({ source }: MachineMemory): boolean =>
  source === "memory" || source === "control group";

/** Bytes that Node, MLX, BLAS and the image codec take before a model is loaded. */
export const programBytes = 150e6;

/**
 * Measures the memory that this process can use: the recommended working set on a GPU; on a CPU, memory that is free or
 * can be freed, within the limit of the control group. The environment variable MFLUX_DEPTH_MEMORY_GB, in units of 10⁹
 * bytes, overrides the measurement.
 * @throws {EngineError} when the variable is not a number above 0.
 */
export function machineMemory(device: DeviceType, env: NodeJS.ProcessEnv = process.env): MachineMemory {
  const given = givenMemory(env.MFLUX_DEPTH_MEMORY_GB);
  if (given !== undefined) return { total: given, available: given, source: "MFLUX_DEPTH_MEMORY_GB" };
  const info = device === "gpu" ? deviceInfo("gpu") : {};
  const workingSet = Number(info.max_recommended_working_set_size ?? info.total_memory);
  if (workingSet > 0) return { total: workingSet, available: workingSet, source: "GPU" };
  // MLX can reuse what it already holds.
  const held = memory.activeMemory() + memory.cacheMemory();
  const free = systemFree() + held;
  const group = controlGroup();
  if (group && group.free + held < free)
    return { total: group.limit, available: group.free + held, source: "control group" };
  return { total: totalmem(), available: Math.min(free, totalmem()), source: "memory" };
}

/** The value of MFLUX_DEPTH_MEMORY_GB in bytes; undefined if it is unset or empty. */
function givenMemory(text: string | undefined): number | undefined {
  if (!text) return undefined;
  const bytes = Number(text) * 1e9;
  if (bytes > 0 && Number.isFinite(bytes)) return bytes;
  const variable = "MFLUX_DEPTH_MEMORY_GB";
  // Not the fault of a request, which a server would blame for an option.
  throw new EngineError(
    `${variable} must be a number of gigabytes above 0, such as 0.5, not ${JSON.stringify(text)}.`,
    { details: { remedies: [{ kind: "correct-variable", variable }] } },
  );
}

/** Measures how many bytes a computation can use now, in addition to all memory in use. */
export function workingRoom(): number {
  const { available } = machineMemory(defaultDevice());
  return Math.max(0, available - programBytes - memory.activeMemory());
}

/** Bytes that the system could hand out without swapping. */
function systemFree(): number {
  if (process.platform === "linux") {
    const found = /^MemAvailable:\s+(\d+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"));
    if (found) return Number(found[1]) * 1024;
  }
  // macOS counts cached files as used, but can drop most of them.
  return process.platform === "darwin" ? 0.8 * totalmem() : freemem();
}
