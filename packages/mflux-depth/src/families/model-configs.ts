import { join } from "node:path";
import { readConfig } from "../files/json.js";
import { configFile, schedulerConfigFile, schedulerFolder } from "../files/repository-layout.js";
import type { ModelConfigs } from "./family.js";
import type { ModelFiles } from "./model-files.js";

/**
 * Reads the configs of a model's components and of its scheduler.
 * @throws {ModelError} when one is missing, damaged, or belongs to another model than the rest.
 */
export function readModelConfigs({
  family,
  configs: folder,
  denoiser,
}: Pick<ModelFiles, "family" | "configs" | "denoiser">): ModelConfigs {
  const read = (name: string, file: string, readConfigOf: (json: unknown, source: string) => unknown) => [
    name,
    denoiser && name === family.denoising.component
      ? readConfigOf(denoiser.config, denoiser.path)
      : readConfigOf(readConfig(join(folder, name), file), join(folder, name, file)),
  ];
  const { components, schedule } = family;
  const configs: ModelConfigs = Object.fromEntries([
    ...Object.entries(components).map(([name, component]) =>
      read(name, configFile, (json, source) => component.readConfig(json, source)),
    ),
    read(schedulerFolder, schedulerConfigFile, (json, source) => schedule.readConfig(json, source)),
  ]);
  family.checkConfigs(configs, folder);
  return configs;
}
