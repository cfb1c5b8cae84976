/*
 * Executes the recipe of a generation: loads and frees components by the memory policy, frees what stages made after
 * its last reader, times stages, and reports warnings between them. Stages know none of this.
 */
import { arraysIn } from "@mflux-depth/mlx";
import { type Lifetime, lifetimesOf } from "../memory/lifetimes.js";
import type { MemoryPolicy } from "../options/index.js";
import type { GenerationEvent } from "./events.js";
import { type StageUse, stagesOf, usesOf } from "./recipe.js";
import type { Artifacts, ComponentLender, Generation, Loadable, LoadableName, Loan, Stage } from "./stage.js";

/** What a finished recipe leaves. */
export interface Finished {
  readonly decoded: Artifacts["decoded"];
  readonly depthMap: Artifacts["control"]["depthMap"];
  /** Tokens of the encoded prompt, padding included. */
  readonly promptTokens: number;
  /** Seconds of each stage; `load` is the time spent reading weights, which no stage includes. */
  readonly timings: Readonly<Record<string, number>>;
}

/**
 * Runs the stages of a generation.
 * @throws what a stage throws; everything that stages made is freed then.
 */
export async function* runRecipe(
  generation: Generation,
  policy: MemoryPolicy,
): AsyncGenerator<GenerationEvent, Finished, void> {
  const { workload, warnings, model } = generation;
  const stages = stagesOf(workload);
  const uses = new Map(stages.map((stage) => [stage, usesOf(stage, workload)]));
  const lifetimes = lifetimesOf([...uses.values()].flat(), policy);
  const artifacts = new ArtifactStore(stages);
  const loadedBefore = model.loading.seconds;
  const seconds: Record<string, number> = {};
  try {
    for (const stage of stages) {
      const own = lifetimes.filter(({ use }) => uses.get(stage)!.includes(use as StageUse));
      const lender = new StageLender(generation, stage, own);
      yield { type: "stage", stage: stage.name, state: "start" };
      const began = performance.now();
      const loaded = model.loading.seconds;
      const running = stage.run(artifacts.all, generation, lender);
      artifacts.put(stage, Symbol.asyncIterator in running ? yield* running : await running);
      lender.close();
      const spent = (performance.now() - began) / 1000 - (model.loading.seconds - loaded);
      seconds[stage.name] = spent;
      yield { type: "stage", stage: stage.name, state: "end", seconds: spent };
      yield* warnings.report();
    }
    const { decoded, control, prompt } = artifacts.all;
    return {
      decoded,
      depthMap: control.depthMap,
      promptTokens: prompt.promptEmbeds.shape[1]!,
      timings: { ...seconds, load: model.loading.seconds - loadedBefore },
    };
  } finally {
    artifacts.free();
  }
}

/** What stages have made so far. Arrays are freed after the last stage that reads them. */
class ArtifactStore {
  readonly #stages: readonly Stage[];
  readonly #made: Partial<Record<keyof Artifacts, unknown>> = { estimate: null, start: null };
  readonly #owned = new Set<keyof Artifacts>();

  constructor(stages: readonly Stage[]) {
    this.#stages = stages;
  }

  /** The artifacts of the stages that have run; stages declare which they read. */
  get all(): Artifacts {
    return this.#made as unknown as Artifacts;
  }

  /** Keeps what a stage made, and frees what no later stage reads. */
  put(stage: Stage, artifact: Artifacts[keyof Artifacts]): void {
    this.#made[stage.makes] = artifact;
    if (!stage.makesShared) this.#owned.add(stage.makes);
    const remaining = this.#stages.slice(this.#stages.indexOf(stage) + 1);
    for (const name of this.#owned)
      if (!remaining.some(({ reads }) => reads.includes(name))) this.#free(name);
  }

  free(): void {
    for (const name of this.#owned) this.#free(name);
  }

  #free(name: keyof Artifacts): void {
    this.#owned.delete(name);
    for (const one of arraysIn(this.#made[name])) one.dispose();
  }
}

/** Lends components to one stage, in the order that it declares, and frees them as their lifetimes say. */
class StageLender implements ComponentLender {
  readonly #generation: Generation;
  readonly #stage: Stage;
  readonly #lifetimes: Lifetime[];

  constructor(generation: Generation, stage: Stage, lifetimes: readonly Lifetime[]) {
    this.#generation = generation;
    this.#stage = stage;
    this.#lifetimes = [...lifetimes];
  }

  async borrow<Name extends LoadableName>(...names: Name[]): Promise<Loan<Name>> {
    const lifetime = this.#lifetimes.shift();
    const declared = lifetime?.use.components ?? [];
    if (names.length !== declared.length || !names.every((name) => declared.includes(name)))
      throw new Error(
        `the stage ${this.#stage.name} borrows ${names.join(", ")} but declares ${declared.join(", ") || "nothing more"}`,
      );
    const loan: Partial<Loadable> & Disposable = { [Symbol.dispose]: () => this.#release(lifetime!) };
    for (const name of names) Object.assign(loan, { [name]: await this.#load(name) });
    return loan as Loan<Name>;
  }

  /** Ends the stage: frees what its unused declarations would have. */
  close(): void {
    for (const lifetime of this.#lifetimes.splice(0)) this.#release(lifetime);
  }

  #load(name: LoadableName): Promise<Loadable[LoadableName]> {
    const { model, estimator, signal } = this.#generation;
    // The estimator reads its weights when it sees that the photo is a new one.
    if (name === "depth") return Promise.resolve(estimator!);
    return model.components[name].get(signal);
  }

  #release({ released }: Lifetime): void {
    const { model, estimator } = this.#generation;
    for (const name of released as readonly LoadableName[])
      if (name === "depth") estimator?.free();
      else model.components[name].free();
  }
}
