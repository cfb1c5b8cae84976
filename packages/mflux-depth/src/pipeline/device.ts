import {
  backend,
  type DeviceType,
  defaultDevice,
  isAvailable,
  setDefaultDevice,
  setThreads,
} from "@mflux-depth/mlx";
import { OptionError } from "../errors.js";

/**
 * Makes the requested device the default one; without a request, keeps the current one.
 * @throws {OptionError} when this machine does not have the device.
 */
export function chooseDevice(requested: DeviceType | undefined): DeviceType {
  if (requested === undefined) return defaultDevice();
  if (!isAvailable(requested))
    throw new OptionError(
      "device",
      `device is ${requested}, which this MLX (${backend().name}) does not have on this machine.`,
    );
  setDefaultDevice(requested);
  return requested;
}

/**
 * Sets how many threads of the process share the work on a Linux CPU.
 * @throws {OptionError} on other devices and systems.
 */
export function useThreads(threads: number, device: DeviceType): void {
  if (device !== "cpu" || process.platform !== "linux")
    throw new OptionError(
      "threads",
      "threads needs Linux and the CPU as device; leave it out on this machine.",
    );
  setThreads(threads);
}
