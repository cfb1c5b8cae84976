import { bundledModel, modelHere } from "mflux-depth/engine";
import { type LoadOptions, loadOptions, resolveLoadOptions } from "mflux-depth/options";
import { AllowedModels } from "../requests/models.js";
import type { Defaults } from "../requests/resolve.js";
import type { ServiceOptions } from "./settings.js";

/** The defaults that a server adds to requests and to the jobs that it runs. */
export async function defaultsOf({
  load = {},
  allowedModels = [],
  env,
}: Pick<ServiceOptions, "load" | "allowedModels" | "env">): Promise<Defaults> {
  const { model, depthModel, loras, ...rest } = load;
  const names = {
    model: typeof model === "string" ? model : await usualModel(env),
    depthModel: depthModel ?? undefined,
    loras: resolveLoadOptions({ loras }).loras,
  };
  return { models: new AllowedModels(names, allowedModels), load: rest satisfies LoadOptions, env };
}

/** FLUX.1-Depth-dev if it is on this machine, otherwise the bundled model: a server downloads nothing. */
async function usualModel(env: NodeJS.ProcessEnv | undefined): Promise<string> {
  const usual = loadOptions.model.default;
  return (await modelHere(usual, env)).ready ? usual : bundledModel;
}
