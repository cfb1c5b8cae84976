import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { kindFor } from "../families/kinds.js";
import { folderHere, isComplete } from "../hub/obtain.js";
import { isLoraHere, loraRepository } from "../pipeline/lora-source.js";

/** What of a model is on this machine. */
export interface ModelHere {
  /** Whether all files that are needed are here. */
  readonly ready: boolean;
  /** The size of its files; null if there are none. */
  readonly bytes: number | null;
  /** Whether it is a LoRA, which changes a model and generates nothing alone. */
  readonly lora: boolean;
}

/**
 * Looks whether a model can be used without a download.
 * @param model a repository, a folder, the bundled model, or a LoRA as a request names it; for generations or for depth.
 * @param env Hugging Face's variables; this process's by default.
 */
export async function modelHere(model: string, env: NodeJS.ProcessEnv = process.env): Promise<ModelHere> {
  const file = await stat(model).catch(() => null);
  const lora = isLoraHere(model, env);
  if (file?.isFile()) return { ready: true, bytes: file.size, lora };
  const folder = folderHere({ model: loraRepository(model)?.repository ?? model }, env);
  if (folder === null) return { ready: false, bytes: null, lora };
  if (lora) return { ready: true, bytes: await bytesIn(folder), lora };
  const ready = (["generation", "depth"] as const).some((purpose) =>
    isComplete({ model }, kindFor[purpose], env),
  );
  return { ready, bytes: await bytesIn(folder), lora };
}

/** The size of a folder's files. Links count as the files that they lead to. */
async function bytesIn(folder: string): Promise<number> {
  const names = await readdir(folder, { recursive: true });
  const sizes = await Promise.all(
    names.map((name) =>
      stat(join(folder, name)).then(
        (file) => (file.isFile() ? file.size : 0),
        () => 0,
      ),
    ),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}
