import { estimatorModels } from "mflux-depth/engine";
import type { EstimatorObject, JsonOptions, ModelObject } from "../contract/index.js";
import { type Defaults, resolveLoad } from "../requests/resolve.js";
import { estimatorObjectOf, modelObjectOf } from "./models.js";
import type { WorkerRegistry } from "./worker-registry.js";

/** The models that requests may name. */
export class Catalogue {
  readonly #defaults: Defaults;
  readonly #workers: WorkerRegistry;
  readonly #env: NodeJS.ProcessEnv | undefined;

  /** @param env Hugging Face's environment variables. */
  constructor(defaults: Defaults, workers: WorkerRegistry, env: NodeJS.ProcessEnv | undefined) {
    this.#defaults = defaults;
    this.#workers = workers;
    this.#env = env;
  }

  /** The default loading options. */
  defaultLoad(): JsonOptions {
    return resolveLoad({}, this.#defaults);
  }

  async models(): Promise<readonly ModelObject[]> {
    const { ready, loaded } = this.#workers.models();
    const facts = { elsewhere: ready, loaded, env: this.#env };
    return Promise.all(this.#defaults.models.all.map((model) => modelObjectOf(model, facts)));
  }

  /** The depth estimators that the library knows. */
  async estimators(): Promise<readonly EstimatorObject[]> {
    const names = new Set(this.#defaults.models.all.map(({ name }) => name));
    return Promise.all(
      estimatorModels.map((estimator) =>
        estimatorObjectOf(estimator, { offered: names.has(estimator.repository), env: this.#env }),
      ),
    );
  }

  /** @throws {ServiceError} `model_not_found` */
  async model(id: string): Promise<ModelObject> {
    this.#defaults.models.sourceOf(id, "model");
    return (await this.models()).find((model) => model.id === id)!;
  }
}
