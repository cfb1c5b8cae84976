import type { DeviceType } from "@mflux-depth/mlx";
import { requireDevice } from "../../device.js";
import { OptionError } from "../../errors.js";
import type { ResolvedLoadOptions } from "../../options/index.js";
import { type ComputeSettings, ownDefaultDevice } from "../turns/process-settings.js";

/**
 * The device that an instance computes on; by default the process's.
 * @throws {OptionError} when this machine does not have the device.
 */
export function deviceFor(requested: DeviceType | undefined): DeviceType {
  if (requested === undefined) return ownDefaultDevice();
  requireDevice(requested);
  return requested;
}

/** The user's limit for MLX's cache of freed buffers, in bytes. */
export const cacheLimitOf = ({
  cacheLimitGb,
}: Pick<ResolvedLoadOptions, "cacheLimitGb">): number | undefined =>
  cacheLimitGb === undefined ? undefined : Math.round(cacheLimitGb * 1e9);

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
    throw new OptionError("threads", "threads applies only to Linux CPUs.", {
      details: { remedies: [{ kind: "omit-option", option: "threads" }] },
    });
  return {
    device,
    threads,
    cacheLimit: cacheLimitOf({ cacheLimitGb }),
  };
}
