/*
 * A release whose workers and APIs speak the next version of their protocol: this one, with another number in one file.
 */
import { protocolVersion } from "../../src/fleet/protocol.js";
import { inUrl } from "./preload.js";

const nextVersion = protocolVersion + 1;

/** A module hook: changes the file as it is read. */
const hook = `
export async function load(url, context, next) {
  const loaded = await next(url, context);
  if (!url.endsWith("/server/dist/src/fleet/protocol.js")) return loaded;
  const source = String(loaded.source).replace("protocolVersion = ${protocolVersion};", "protocolVersion = ${nextVersion};");
  return { ...loaded, source };
}`;

const register = `import { register } from "node:module"; register(${JSON.stringify(inUrl(hook))});`;

/** The environment in which a process is of the next release. */
export const nextRelease: Readonly<Record<string, string>> = { NODE_OPTIONS: `--import ${inUrl(register)}` };

/** The message of a worker with one protocol version to an API with another. */
export const mismatch = (versions: "newer worker" | "older worker"): RegExp => {
  const [api, worker] =
    versions === "newer worker" ? [protocolVersion, nextVersion] : [nextVersion, protocolVersion];
  return new RegExp(
    `The API speaks version ${api} of the protocol with its workers, this worker version ${worker}; install the same release of mflux-depth on both\\.`,
  );
};
