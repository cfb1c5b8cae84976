import { basename, isAbsolute } from "node:path";
import { bundledModels } from "mflux-depth/engine";
import { ServiceError } from "../errors.js";

/** A model or LoRA that requests may name. */
export interface AllowedModel {
  /** The only name that clients see. */
  readonly name: string;
  /** Its folder or file; if absent, `name` is a repository in the cache. */
  readonly folder?: string | undefined;
}

/** The default models and LoRAs: repositories, folders, files, or bundled ones. */
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

/** The models and LoRAs that requests may name, and where the library finds them. */
export class AllowedModels {
  readonly #models: ReadonlyMap<string, AllowedModel>;
  /** The name of the default model. */
  readonly defaultModel: string;
  /** The name of the default depth estimator; undefined if the library chooses. */
  readonly defaultDepthModel: string | undefined;
  readonly defaultLoras: readonly Lora[];

  constructor({ model, depthModel, loras = [] }: DefaultModels, allowed: readonly AllowedModel[]) {
    const main = named(model);
    const estimator = depthModel === undefined ? undefined : named(depthModel);
    const adapters = loras.map(({ source, scale }) => ({ ...named(source), scale }));
    const bundled = bundledModels.map((name): AllowedModel => ({ name }));
    const all = [...bundled, ...allowed, main, ...(estimator ? [estimator] : []), ...adapters];
    this.#models = new Map(all.map(({ name, folder }) => [name, { name, folder }]));
    this.defaultModel = main.name;
    this.defaultDepthModel = estimator?.name;
    this.defaultLoras = adapters.map(({ name, scale }) => ({ source: name, scale }));
  }

  get all(): readonly AllowedModel[] {
    return [...this.#models.values()];
  }

  /**
   * Converts a model's name to the source that the library loads.
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

/** A folder in the server's own settings is also private: clients see only the last part of its path. */
const named = (model: string): AllowedModel =>
  isPath(model) ? { name: basename(model), folder: model } : { name: model };

/** Whether a name may be that of a repository, OWNER/NAME, or of a file in one, OWNER/NAME:FILE. */
export const mayBeRepository = (name: string): boolean => /^[\w-][\w.-]*\/[\w-][\w.-]*(:.+)?$/.test(name);

/** Whether a model is named by the path of its folder or file. Repository names contain one slash, in the middle. */
export const isPath = (model: string): boolean => isAbsolute(model) || /^\.{1,2}[\\/]/.test(model);
