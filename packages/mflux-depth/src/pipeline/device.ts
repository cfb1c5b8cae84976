import { backend, type DeviceType, isAvailable } from "@mflux-depth/mlx";
import { OptionError } from "../errors.js";
import type { ResolvedLoadOptions } from "../options/index.js";
import { type ComputeSettings, ownDefaultDevice } from "./process-settings.js";

/**
 * The device that an instance computes on. Without a request, the process's default device.
 * @throws {OptionError} when this machine does not have the device.
 */
export function deviceFor(requested: DeviceType | undefined): DeviceType {
  if (requested === undefined) return ownDefaultDevice();
  if (!isAvailable(requested))
    throw new OptionError(
      "device",
      `device ${requested} is not available: MLX (${backend().name}) finds none on this machine. Omit device to use the default.`,
    );
  return requested;
}

/**
 * Checks the options that become settings of MLX while an instance computes. Changes nothing.
 * @throws {OptionError} when this machine does not have the device, or threads cannot be chosen for it.
 */
export function computeSettingsOf({
  device: requested,
  threads,
  cacheLimitGb,
}: Pick<ResolvedLoadOptions, "device" | "threads" | "cacheLimitGb">): ComputeSettings {
  const device = deviceFor(requested);
  if (threads !== undefined && (device !== "cpu" || process.platform !== "linux"))
    throw new OptionError("threads", "threads applies only to Linux CPUs; omit it on this machine.");
  return {
    device,
    threads,
    cacheLimit: cacheLimitGb === undefined ? undefined : Math.round(cacheLimitGb * 1e9),
  };
}
