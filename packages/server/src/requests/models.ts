import { basename, isAbsolute } from "node:path";
import { ServiceError } from "../errors.js";

/** The name of the model that comes with the library. */
export const bundledModel = "tiny-world";

/** A model or LoRA that requests may name. */
export interface AllowedModel {
  /** The only name that clients see. */
  readonly name: string;
  /** Its folder or file; without one, `name` is a repository in the cache. */
  readonly folder?: string | undefined;
}

/** The models and LoRAs of requests that name none, as repositories, folders, files, or the bundled model. */
export interface DefaultModels {
  readonly model: string;
  readonly depthModel?: string | undefined;
  readonly loras?: readonly Lora[] | undefined;
}

/** A LoRA with its strength. */
export interface Lora {
  readonly source: string;
  readonly scale: number;
}

/** The models and LoRAs that requests may name: their names, and where the library finds them. */
export class AllowedModels {
  readonly #models: ReadonlyMap<string, AllowedModel>;
  /** The name of the model of requests that name none. */
  readonly defaultModel: string;
  /** The same for depth estimators; undefined where the library chooses. */
  readonly defaultDepthModel: string | undefined;
  readonly defaultLoras: readonly Lora[];

  constructor({ model, depthModel, loras = [] }: DefaultModels, allowed: readonly AllowedModel[]) {
    const main = named(model);
    const estimator = depthModel === undefined ? undefined : named(depthModel);
    const adapters = loras.map(({ source, scale }) => ({ ...named(source), scale }));
    const all = [{ name: bundledModel }, ...allowed, main, ...(estimator ? [estimator] : []), ...adapters];
    this.#models = new Map(all.map(({ name, folder }) => [name, { name, folder }]));
    this.defaultModel = main.name;
    this.defaultDepthModel = estimator?.name;
    this.defaultLoras = adapters.map(({ name, scale }) => ({ source: name, scale }));
  }

  get all(): readonly AllowedModel[] {
    return [...this.#models.values()];
  }

  /**
   * What the library knows a model by.
   * @param param the path of the field that names it.
   * @throws {ServiceError} `model_not_found` for a model that requests may not name.
   */
  sourceOf(name: string, param: string): string {
    const model = this.#models.get(name);
    if (!model)
      throw new ServiceError(
        "model_not_found",
        `This server does not offer ${JSON.stringify(name.slice(0, 100))}; GET /v1/models lists those it does.`,
        { param },
      );
    return model.folder ?? model.name;
  }
}

/** A folder of the server's own settings is as private as the others: clients see the last part of its name. */
const named = (model: string): AllowedModel =>
  isPath(model) ? { name: basename(model), folder: model } : { name: model };

/** Whether a model is named by the path of its folder or file; repositories have one slash inside. */
export const isPath = (model: string): boolean => isAbsolute(model) || /^\.{1,2}[\\/]/.test(model);
