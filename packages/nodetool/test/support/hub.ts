/*
 * A Hub and an empty cache for a worker, and the bundled model as the files of a repository.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

// The test Hub of the package that downloads.
export const { etagOf, goodToken, HubServer } = (await import(
  new URL("../../../../mflux-depth/dist/test/support/hub-server.js", import.meta.url).href
)) as typeof import("../../../mflux-depth/test/support/hub-server.js");

const bundled = fileURLToPath(new URL("../../../../mflux-depth/models/tiny-world", import.meta.url));

/** The files of the bundled model. */
export const tiny: Readonly<Record<string, Buffer>> = Object.fromEntries(
  readdirSync(bundled, { recursive: true, encoding: "utf8", withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== "README.md")
    .map(({ parentPath, name }) => join(parentPath, name))
    .map((path) => [path.slice(bundled.length + 1), readFileSync(path)]),
);

/** The file that takes longest. */
export const transformer = "transformer/diffusion_pytorch_model.safetensors";

/** Starts a Hub, with the environment of a worker that uses it; `end` it after the worker. */
export async function startHub() {
  const hub = await HubServer.start();
  const home = mkdtempSync(join(tmpdir(), "hf-"));
  const end = async (): Promise<void> => {
    await hub[Symbol.asyncDispose]();
    rmSync(home, { recursive: true });
  };
  const environment = {
    HF_HOME: home,
    HF_HUB_CACHE: "",
    HF_ENDPOINT: hub.endpoint,
    HF_HUB_OFFLINE: "0",
    HF_TOKEN: "",
    HUGGING_FACE_HUB_TOKEN: "",
  };
  /** Makes the Hub send this many bytes of the transformer, and then nothing more. */
  const stallAt = (bytes: number): void => {
    const held = etagOf(transformer, tiny[transformer]!);
    hub.fault = ({ path, headers }, response) => {
      if (!path.endsWith(held)) return undefined;
      if (headers.range) return true;
      response.writeHead(200, { "content-length": `${tiny[transformer]!.length}` });
      response.write(tiny[transformer]!.subarray(0, bytes));
      return true;
    };
  };
  return { hub, home, environment, stallAt, end };
}
