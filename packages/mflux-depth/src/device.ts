import { backend, type DeviceType, isAvailable } from "@mflux-depth/mlx";
import { OptionError } from "./errors.js";

/**
 * Checks that this machine has a device.
 * @throws {OptionError} when it does not.
 */
export function requireDevice(device: DeviceType): void {
  if (!isAvailable(device))
    throw new OptionError(
      "device",
      `device ${device} is not available: MLX (${backend().name}) finds none on this machine.`,
      { details: { remedies: [{ kind: "omit-option", option: "device" }] } },
    );
}
