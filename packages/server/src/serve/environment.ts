import type { Io } from "mflux-depth/command";

/** The engine's environment: it needs no token or password of ours. */
export function withoutSecrets(env: Io["env"]): NodeJS.ProcessEnv {
  const { MFLUX_DEPTH_TOKEN: _, MFLUX_DEPTH_WORKER_TOKEN: __, MFLUX_DEPTH_REDIS: ___, ...rest } = env;
  return rest;
}

/** How long a worker may be silent. Tests shorten it; everybody of a fleet needs the same. */
export function leaseMsOf(env: Io["env"]): number | undefined {
  const milliseconds = Number(env.MFLUX_DEPTH_LEASE_MS);
  return milliseconds > 0 ? milliseconds : undefined;
}
