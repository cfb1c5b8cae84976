import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { ModelError } from "../errors.js";
import { folderHere, isComplete } from "../hub/obtain.js";
import { isLoraHere, type SavedLora, savedLorasIn } from "../pipeline/model/lora-source.js";
import { fileInRepository, isCheckpointFile } from "../pipeline/model/single-file-source.js";
import { kindOf, type NeededModel, neededLoras } from "./needed-model.js";

/** How much of a model is on this machine. */
export interface ModelHere {
  /** Whether all required files are here. */
  readonly ready: boolean;
  /** The size of its files; null if there are none. */
  readonly bytes: number | null;
  /** Whether it is a LoRA, which changes a model and generates nothing on its own. */
  readonly lora: boolean;
  /** The LoRAs that were saved with it: the first of its `loraScales`, in this order. */
  readonly savedLoras: readonly Omit<SavedLora, "source">[];
}

/**
 * Checks whether a model or a LoRA can be used without a download.
 * @param model a repository, a folder, the bundled model, or a file; for a LoRA in a repository, its name or
 * "owner/name:file".
 * @param env Hugging Face's environment variables; this process's by default.
 */
export async function modelHere(model: string, env: NodeJS.ProcessEnv = process.env): Promise<ModelHere> {
  return {
    ...(await filesHere(model, env)),
    lora: isLoraHere(model, env),
    savedLoras: savedLorasHere(model, env),
  };
}

/**
 * The LoRAs that were saved with a model, with the scales that they have there; none for a model that is not here.
 * @param model as for {@link modelHere}
 * @param env Hugging Face's variables; this process's by default.
 */
export function savedLorasHere(
  model: string,
  env: NodeJS.ProcessEnv = process.env,
): readonly Omit<SavedLora, "source">[] {
  // A transformer in one file leaves the LoRAs of the other components' model alone.
  if (isCheckpointFile(model)) return [];
  const folder = folderHere({ model }, env);
  if (folder === null) return [];
  try {
    return savedLorasIn(folder).map(({ name, scale }) => ({ name, scale }));
  } catch (error) {
    // A damaged file is reported when the model is loaded.
    if (error instanceof ModelError) return [];
    throw error;
  }
}

async function filesHere(model: string, env: NodeJS.ProcessEnv): Promise<Pick<ModelHere, "ready" | "bytes">> {
  const file = await stat(model).catch(() => null);
  if (file?.isFile()) return { ready: true, bytes: file.size };
  const named = fileInRepository(model);
  const repository = named?.repository ?? model;
  const folder = folderHere({ model: repository }, env);
  if (folder === null) return { ready: false, bytes: null };
  if (named) {
    const found = await stat(join(folder, named.file)).catch(() => null);
    const [needed] = neededLoras([{ source: model, scale: 1 }]);
    return { ready: isHere(needed!, env), bytes: found?.size ?? null };
  }
  const needs: readonly NeededModel[] = [
    { source: { model }, purpose: "generation" },
    { source: { model }, purpose: "depth" },
    ...neededLoras([{ source: model, scale: 1 }]),
  ];
  return { ready: needs.some((needed) => isHere(needed, env)), bytes: await bytesIn(folder) };
}

function isHere(needed: NeededModel, env: NodeJS.ProcessEnv): boolean {
  try {
    return isComplete(needed.source, kindOf(needed), env);
  } catch (error) {
    // If a repository has several LoRAs, the file must be named.
    if (error instanceof ModelError) return false;
    throw error;
  }
}

/** The size of a folder's files. Links count as their targets. */
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
