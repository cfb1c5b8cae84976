/*
 * Copies the small files of a saved model: configs, scheduler, tokenizers, licence, and a depth estimator if the model
 * includes one. They make the folder self-contained.
 */
import { copyFile, mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { estimatorIn } from "../../depth/repository.js";
import { componentNames } from "../../families/family.js";
import type { ModelFiles } from "../../families/model-files.js";
import { configFile, modelIndexFile, schedulerFolder } from "../../files/repository-layout.js";

/**
 * Copies everything except weights from a model's folder into `folder`, which already has the components' folders.
 * @throws the file system's error, or the signal's reason.
 */
export async function copyModelFiles(
  { family, folder: source, configs, denoiser }: ModelFiles,
  folder: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (const { tokenizer } of family.text)
    await copyFolder(join(source, tokenizer), join(folder, tokenizer), signal);
  const estimator = estimatorIn(source);
  if (estimator !== null) await copyFolder(estimator, join(folder, basename(estimator)), signal);
  for (const name of await readdir(source))
    if (/^(LICENSE|NOTICE)/i.test(name)) await copyFile(join(source, name), join(folder, name));
  await copyFolder(join(configs, schedulerFolder), join(folder, schedulerFolder), signal);
  for (const component of componentNames(family)) {
    const target = join(folder, component, configFile);
    if (denoiser && component === family.denoising.component) await writeJson(target, denoiser.config);
    else await copyFile(join(configs, component, configFile), target);
  }
  if ((await readdir(configs)).includes(modelIndexFile))
    await copyFile(join(configs, modelIndexFile), join(folder, modelIndexFile));
}

/** Copies the files of a folder. Links into the Hugging Face cache become files. */
async function copyFolder(from: string, to: string, signal: AbortSignal | undefined): Promise<void> {
  const files: string[] = [];
  for (const name of await readdir(from))
    if ((await stat(join(from, name))).isFile()) files.push(join(from, name));
  await copyFiles(files, to, signal);
}

/** Copies files into a new folder. */
export async function copyFiles(
  files: readonly string[],
  to: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const file of files) {
    signal?.throwIfAborted();
    await copyFile(file, join(to, basename(file)));
  }
}

/** The total size of files. */
export async function bytesOf(files: readonly string[]): Promise<number> {
  const sizes = await Promise.all(files.map((file) => stat(file)));
  return sizes.reduce((sum, { size }) => sum + size, 0);
}

/** Writes a new JSON file, indented. */
export const writeJson = (path: string, value: unknown): Promise<void> =>
  writeFile(path, `${JSON.stringify(value, null, 2)}\n`, { flag: "wx" });
