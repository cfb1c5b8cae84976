import type { Io } from "mflux-depth/command";

/** How long a worker may be silent. Tests shorten it; all processes of a fleet need the same value. */
export function leaseMsOf(env: Io["env"]): number | undefined {
  const milliseconds = Number(env.MFLUX_DEPTH_LEASE_MS);
  return milliseconds > 0 ? milliseconds : undefined;
}
