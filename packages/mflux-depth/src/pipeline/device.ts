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
 * Makes the requested device MLX's default. Without a request, the current default stays.
 * @returns the default device.
 * @throws {OptionError} when this machine does not have the device.
 */
export function chooseDevice(requested: DeviceType | undefined): DeviceType {
  if (requested === undefined) return defaultDevice();
  if (!isAvailable(requested))
    throw new OptionError(
      "device",
      `device is ${requested}, but MLX (${backend().name}) has no such device on this machine; leave out device.`,
    );
  setDefaultDevice(requested);
  return requested;
}

/**
 * Sets how many threads share the work on a Linux CPU.
 * @throws {OptionError} on other devices and systems.
 */
export function useThreads(threads: number, device: DeviceType): void {
  if (device !== "cpu" || process.platform !== "linux")
    throw new OptionError("threads", "threads needs the CPU of a Linux machine; leave it out here.");
  setThreads(threads);
}
