import type { Io } from "mflux-depth/command";

/** How long a worker may be silent. Tests shorten it; everybody of a fleet needs the same. */
export function leaseMsOf(env: Io["env"]): number | undefined {
  const milliseconds = Number(env.MFLUX_DEPTH_LEASE_MS);
  return milliseconds > 0 ? milliseconds : undefined;
}
