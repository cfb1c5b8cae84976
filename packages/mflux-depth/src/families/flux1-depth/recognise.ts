import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { estimatorDescriptions } from "../../depth/descriptions.js";
import { ModelError } from "../../errors.js";
import { isFolder } from "../../files/folders.js";
import { readConfig, readText } from "../../files/json.js";
import { configFile, modelIndexFile, schedulerFolder } from "../../files/repository-layout.js";
import { folders, mfluxFirstShard, modelFolders } from "./layout.js";

const transformerClass = "FluxTransformer2DModel";

/** Whether a folder may hold a FLUX.1 model: Depth or a related one, complete or not. */
export function isCandidate(folder: string): boolean {
  const transformer = join(folder, folders.transformer);
  if (existsSync(join(transformer, mfluxFirstShard))) return true;
  try {
    return readConfig(transformer, configFile)._class_name === transformerClass;
  } catch (error) {
    if (error instanceof ModelError) return false;
    throw error;
  }
}

/**
 * Explains, from file names and configs, why a folder does not hold FLUX.1 Depth; null if it does. FLUX.1 Canny has the
 * same configs and shapes, so it is recognised by the folder's name and the model card.
 * @param configs the folder with configs and scheduler, if they are not next to the weights.
 */
export function refusal(folder: string, configs = folder): ModelError | null {
  try {
    requireFluxDepth(folder, configs);
    return null;
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
}

/** Explains why a folder does not hold FLUX.1-dev, the base model of the depth LoRA; null if it does. */
export function baseRefusal(folder: string): ModelError | null {
  try {
    requireFlux(folder, folder, requireBaseChannels);
    return null;
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
}

const requireFluxDepth = (folder: string, configs: string): void =>
  requireFlux(folder, configs, requireDepthChannels);

/** @param requireChannels checks the inputs of the transformer. */
function requireFlux(folder: string, configs: string, requireChannels: typeof requireDepthChannels): void {
  const hasIndex = existsSync(join(configs, modelIndexFile));
  if (!hasIndex && existsSync(join(folder, configFile))) throw singleComponent(folder);
  const pipeline = hasIndex ? readConfig(configs, modelIndexFile)._class_name : undefined;
  if (pipeline === "FluxPriorReduxPipeline")
    throw new ModelError(folder, "this is FLUX.1 Redux, which varies images; FLUX.1 Depth takes a depth map");
  if (typeof pipeline === "string" && !pipeline.startsWith("Flux"))
    throw new ModelError(folder, `this is a model for ${pipeline}, not for FLUX.1`);
  const missing = modelFolders.filter(
    (name) => !isFolder(join(name === schedulerFolder ? configs : folder, name)),
  );
  if (missing.length === modelFolders.length && !hasIndex)
    throw new ModelError(
      folder,
      `this is not a FLUX.1 repository in the layout of diffusers: expected ${modelIndexFile} and the folders ${modelFolders.join(", ")}`,
    );
  if (missing.length > 0)
    throw new ModelError(folder, `missing folders: ${missing.join(", ")}; complete the download`);
  requireNotCanny(folder);
  const source = join(configs, folders.transformer, configFile);
  const { _class_name: network, in_channels: channels } = readConfig(
    join(configs, folders.transformer),
    configFile,
  );
  if (network !== undefined && network !== transformerClass)
    throw new ModelError(
      source,
      `the transformer is a ${typeof network === "string" ? network : JSON.stringify(network)}; FLUX.1 Depth has a ${transformerClass}`,
    );
  const { latent_channels: latentChannels = 16 } = readConfig(join(configs, folders.autoencoder), configFile);
  requireChannels(source, channels, latentChannels);
}

/** The error for a folder with its own config.json, which holds a single network. */
function singleComponent(folder: string): ModelError {
  const { model_type: type, _class_name: network } = readConfig(folder, configFile);
  const estimator = estimatorDescriptions.find(({ modelType }) => modelType === type);
  if (estimator)
    return new ModelError(
      folder,
      `this is ${estimator.name}, which estimates depth from photos; expected a FLUX.1 Depth model`,
      { details: { remedies: [{ kind: "set-option", option: "depthModel", value: folder }] } },
    );
  const kind = [type, network].find((name) => typeof name === "string") ?? "of an unknown kind";
  return new ModelError(
    folder,
    `this is one component (${kind}); expected a whole FLUX.1 Depth repository with the folders ${modelFolders.join(", ")}`,
  );
}

const cannyReason = "its name says FLUX.1 Canny, which takes an edge map; FLUX.1 Depth takes a depth map";

/**
 * Refuses a repository on the Hub that is named after FLUX.1 Canny, whose configs equal those of FLUX.1 Depth.
 * @throws {ModelError} for such a name.
 */
export function requireNotCannyName(repository: string): void {
  if (/canny/i.test(repository.split("/")[1] ?? "")) throw new ModelError(repository, cannyReason);
}

/** @throws {ModelError} when the folder's name or its model card says FLUX.1 Canny. */
function requireNotCanny(folder: string): void {
  const namesCanny = (text: string): boolean =>
    /FLUX\.?1[ -](Canny|Depth)/i.exec(text)?.[1]?.toLowerCase() === "canny";
  if (namesCanny(basename(folder))) throw new ModelError(folder, cannyReason);
  const card = join(folder, "README.md");
  if (existsSync(card) && namesCanny(readText(folder, "README.md"))) throw new ModelError(card, cannyReason);
}

/**
 * Checks that a transformer takes latents alone.
 * @throws {ModelError} when it takes another number of channels.
 */
export function requireBaseChannels(source: string, channels: unknown, latentChannels: unknown): void {
  const packed = 4 * Number(latentChannels);
  if (channels === 2 * packed)
    throw new ModelError(
      source,
      "this model takes a depth map itself; the depth LoRA is for FLUX.1-dev, so use one or the other",
    );
  if (channels !== packed)
    throw new ModelError(
      source,
      `in_channels is ${JSON.stringify(channels)}; the depth LoRA is for FLUX.1-dev, which has ${packed}`,
    );
}

/**
 * Checks that a transformer takes latents and control latents.
 * @param source the file concerned, for messages.
 * @param channels the transformer's `in_channels`.
 * @param latentChannels channels of one latent; a token holds a patch of 2 × 2 latents.
 * @throws {ModelError} when it takes another number of channels; the message says which model that is.
 */
export function requireDepthChannels(source: string, channels: unknown, latentChannels: unknown): void {
  const packed = 4 * Number(latentChannels);
  const expected = `FLUX.1 Depth has in_channels ${2 * packed}`;
  if (channels === packed)
    throw new ModelError(
      source,
      `this is FLUX.1 dev or schnell, which takes no depth map (${expected}, not ${packed})`,
    );
  if (channels === 6 * packed)
    throw new ModelError(source, `this is FLUX.1 Fill, which takes a mask (${expected}, not ${6 * packed})`);
  if (channels !== 2 * packed)
    throw new ModelError(
      source,
      `in_channels is ${JSON.stringify(channels)}, which belongs to an unknown model (${expected})`,
    );
}
