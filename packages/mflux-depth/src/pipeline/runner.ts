/*
 * Runs the stages of a generation: loads and frees components according to the memory policy, frees artifacts after
 * their last reader, times stages, and reports warnings between them. Stages are unaware of this.
 */
import { arraysIn } from "@mflux-depth/mlx";
import { keepsOutputs, type Lifetime, lifetimesOf } from "../memory/lifetimes.js";
import type { MemoryPolicy } from "../options/index.js";
import type { GenerationEvent } from "./events.js";
import { lendable } from "./lendable.js";
import type { Model } from "./model/model.js";
import { usesOf } from "./recipe.js";
import type { Artifacts, ComponentLender, Generation, Loan, Stage } from "./stage.js";

/** The outcome of a generation's stages. */
export interface FinishedGeneration {
  readonly decoded: Artifacts["decoded"];
  readonly depthMap: Artifacts["control"]["depthMap"];
  /** Tokens of the encoded prompt, padding included; the maximum if the prompt was not encoded. */
  readonly promptTokens: number;
  /** Seconds of each stage. `load` is the time spent reading weights, which no stage includes. */
  readonly timings: Readonly<Record<string, number>>;
}

/**
 * Runs the stages of a generation in order. In any case, it finally frees everything except the components and the
 * prompt that the policy "resident" keeps for the next generation.
 * @throws the error of a stage that fails.
 */
export async function* runRecipe(
  stages: readonly Stage[],
  generation: Generation,
  policy: MemoryPolicy,
): AsyncGenerator<GenerationEvent, FinishedGeneration, void> {
  const { warnings, model } = generation;
  const artifacts = new ArtifactStore(stages);
  const lenders = lendersFor(stages, generation, policy);
  const loadedBefore = model.loading.seconds;
  const seconds: Record<string, number> = {};
  try {
    for (const [stage, lender] of lenders) {
      yield { type: "stage", stage: stage.name, state: "start" };
      const elapsed = stopwatch(model);
      const running = stage.run(artifacts.inputsOf(stage), generation, lender);
      artifacts.put(stage, Symbol.asyncIterator in running ? yield* running : await running);
      lender.close();
      const spent = elapsed();
      seconds[stage.name] = spent;
      yield { type: "stage", stage: stage.name, state: "end", seconds: spent };
      yield* warnings.report();
    }
    return {
      decoded: artifacts.get("decoded"),
      depthMap: artifacts.get("control").depthMap,
      promptTokens: artifacts.get("prompt")?.tokens ?? generation.workload.textTokens,
      timings: { ...seconds, load: model.loading.seconds - loadedBefore },
    };
  } finally {
    artifacts.free();
    for (const lender of lenders.values()) lender.close();
    if (!keepsOutputs(policy)) for (const { cache } of stages) cache?.(generation).clear();
  }
}

/** Starts a stopwatch. The result gives the seconds since then, without those spent reading weights. */
function stopwatch({ loading }: Model): () => number {
  const [began, loadedBefore] = [performance.now(), loading.seconds];
  return () => (performance.now() - began) / 1000 - (loading.seconds - loadedBefore);
}

/** Keeps the artifacts of a generation. Their arrays are freed after the last stage that reads them. */
class ArtifactStore {
  readonly #stages: readonly Stage[];
  readonly #made: Partial<Record<keyof Artifacts, unknown>> = {};
  readonly #owned = new Set<keyof Artifacts>();

  constructor(stages: readonly Stage[]) {
    this.#stages = stages;
  }

  /** Returns an artifact, or null if the generation skips the stage that makes it. */
  get<Name extends keyof Artifacts>(name: Name): Artifacts[Name] {
    return (this.#made[name] ?? null) as Artifacts[Name];
  }

  /** The artifacts that a stage reads. */
  inputsOf({ reads }: Stage): Artifacts {
    return Object.fromEntries(reads.map((name) => [name, this.get(name)])) as unknown as Artifacts;
  }

  /** Keeps a stage's artifact, and frees those that no later stage reads. */
  put(stage: Stage, artifact: Artifacts[keyof Artifacts]): void {
    this.#made[stage.makes] = artifact;
    if (!stage.cache) this.#owned.add(stage.makes);
    const later = this.#stages.slice(this.#stages.indexOf(stage) + 1);
    for (const name of this.#owned) if (!later.some(({ reads }) => reads.includes(name))) this.#free(name);
  }

  free(): void {
    for (const name of this.#owned) this.#free(name);
  }

  #free(name: keyof Artifacts): void {
    this.#owned.delete(name);
    for (const one of arraysIn(this.#made[name])) one.dispose();
  }
}

/** Makes a lender for each stage. Lifetimes of components span all stages. */
function lendersFor(
  stages: readonly Stage[],
  generation: Generation,
  policy: MemoryPolicy,
): Map<Stage, StageLender> {
  const uses = new Map(
    stages.map((stage) => [stage, usesOf(stage, generation.workload, generation.model.family)]),
  );
  const lifetimes = lifetimesOf([...uses.values()].flat(), policy);
  return new Map(
    [...uses].map(([stage, own]) => {
      const ofStage = lifetimes.filter(({ use }) => own.includes(use));
      return [stage, new StageLender(stage, ofStage, generation)];
    }),
  );
}

/** Lends components to one stage in the order of its declarations, and frees them at the end of their lifetimes. */
class StageLender implements ComponentLender {
  readonly #stage: Stage;
  readonly #generation: Generation;
  /** Lifetimes of the remaining uses. */
  readonly #lifetimes: Lifetime[];

  constructor(stage: Stage, lifetimes: readonly Lifetime[], generation: Generation) {
    this.#stage = stage;
    this.#lifetimes = [...lifetimes];
    this.#generation = generation;
  }

  async borrow<Name extends string>(...names: Name[]): Promise<Loan<Name>> {
    const [lifetime] = this.#lifetimes;
    const declared = lifetime?.use.components ?? [];
    if (!lifetime || names.length !== declared.length || !names.every((name) => declared.includes(name)))
      throw new Error(
        `the stage ${this.#stage.name} borrows ${names.join(", ")}, but declares ${declared.join(", ") || "nothing more"}`,
      );
    this.#lifetimes.shift();
    const loan: Disposable = { [Symbol.dispose]: () => this.#release(lifetime) };
    try {
      for (const name of names)
        Object.assign(loan, { [name]: await this.#lendable(name).get(this.#generation.signal) });
    } catch (error) {
      this.#release(lifetime);
      throw error;
    }
    return loan as Loan<Name>;
  }

  /** Ends the stage. Skipped uses end as well, so that components kept for them are freed. */
  close(): void {
    for (const lifetime of this.#lifetimes.splice(0)) this.#release(lifetime);
  }

  #release({ released }: Lifetime): void {
    for (const name of released) this.#lendable(name).free();
  }

  #lendable(name: string): ReturnType<typeof lendable> {
    return lendable(name, this.#generation.model, this.#generation.estimator);
  }
}
