import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { array, type MxArray } from "@mflux-depth/mlx";
import type { PromptEmbeddings } from "../../src/families/family.js";
import { type MemoryPolicy, resolveLoadOptions } from "../../src/options/index.js";
import type { GenerationEvent } from "../../src/pipeline/events.js";
import { findModel, type Model, type OpenModelOptions, openModel } from "../../src/pipeline/model/model.js";
import { PromptCache } from "../../src/pipeline/prompt-cache.js";
import { type FinishedGeneration, runRecipe } from "../../src/pipeline/runner.js";
import type { Artifacts, Generation, Stage } from "../../src/pipeline/stage.js";
import { Warnings } from "../../src/pipeline/warnings.js";
import {
  collect,
  exampleImage,
  inMemory,
  loadTinyWorld,
  logLoads,
  smallRequest,
} from "../support/tiny-world.js";

/** Components in the order in which their weights were read. */
const log: string[] = [];
let baseline = inMemory();
beforeEach(() => {
  log.length = 0;
  baseline = inMemory();
});

async function openTinyWorld(prepare: OpenModelOptions["prepare"] = {}): Promise<Model> {
  const options = resolveLoadOptions({ model: "tiny-world", quantize: "none", dtype: "float32" });
  const { files } = await findModel(options);
  return openModel(files, options, "cpu", {
    prepare,
    ...(logLoads(log) as Pick<OpenModelOptions, "onProgress">),
  });
}

/** A generation with nothing but a model, prompts and warnings, which is all that the stages here use. */
const generationWith = (model: Model): Generation =>
  ({
    model,
    prompts: new PromptCache(),
    warnings: new Warnings([]),
    estimator: null,
    workload: {},
    signal: new AbortController().signal,
  }) as unknown as Generation;

const one = (): MxArray => array(new Float32Array(1000));

/** The artifacts that stages in these tests make, unless they have their own code. */
const make: { readonly [Name in keyof Artifacts]: () => unknown } = {
  prompt: () => ({ embeddings: { clip: one(), t5: one() }, tokens: 8 }),
  estimate: () => null,
  control: () => ({ depthMap: "the map", latents: one() }),
  start: one,
  latents: one,
  decoded: () => "the image",
};

type Declaration = Pick<Stage, "name" | "makes"> & Partial<Omit<Stage, "run" | "uses">>;

/** A stage with some components and some code. */
function stage(
  declaration: Declaration,
  uses: ReturnType<Stage["uses"]> = [],
  run: Stage["run"] = async () => make[declaration.makes]() as never,
): Stage {
  return { reads: [], workingMemory: () => 0, ...declaration, uses: () => uses, run };
}

const text = stage({ name: "text", makes: "prompt" });
const control = stage({ name: "control", makes: "control" });
const denoise = stage({ name: "denoise", makes: "latents", reads: ["prompt", "control"] });
const decode = stage({ name: "decode", makes: "decoded", reads: ["latents"] });

/** Runs stages to their end; returns the events and the outcome. */
async function runAll(
  stages: readonly Stage[],
  generation: Generation,
  policy: MemoryPolicy = "low",
): Promise<{ events: GenerationEvent[]; finished: FinishedGeneration }> {
  const running = runRecipe(stages, generation, policy);
  const events: GenerationEvent[] = [];
  for (;;) {
    const next = await running.next();
    if (next.done) return { events, finished: next.value };
    events.push(next.value);
  }
}

describe("the runner and the components of a stage", () => {
  test("fails a stage that borrows a component that it did not declare", async () => {
    const generation = generationWith(await openTinyWorld());
    const cheating = stage({ name: "control", makes: "control" }, [["vae"]], async (_, __, components) => {
      await components.borrow("transformer");
      return make.control() as never;
    });
    await assert.rejects(
      runAll([text, cheating], generation),
      /^Error: the stage control borrows transformer, but declares vae$/,
    );
    assert.deepEqual(log, []);
    assert.deepEqual(inMemory(), baseline);
  });

  test("fails a stage that borrows more often than it declares, and frees what it had borrowed", async () => {
    const generation = generationWith(await openTinyWorld());
    const cheating = stage({ name: "control", makes: "control" }, [["vae"]], async (_, __, components) => {
      using _vae = await components.borrow("vae");
      await components.borrow("vae");
      return make.control() as never;
    });
    await assert.rejects(
      runAll([text, cheating], generation),
      /the stage control borrows vae, but declares nothing more/,
    );
    assert.deepEqual(inMemory(), baseline);
  });

  const borrowsVae: Stage["run"] = async (_, __, components) => {
    using _loan = await components.borrow("vae");
    return make.control() as never;
  };

  test("frees components that were kept for a later stage if a stage in between fails", async () => {
    const generation = generationWith(await openTinyWorld());
    const stages = [
      text,
      stage({ name: "control", makes: "control" }, [["vae"]], borrowsVae),
      stage({ name: "image", makes: "start" }, [["vae"]], async () => {
        throw new Error("this stage fails");
      }),
      stage({ name: "decode", makes: "decoded" }, [["vae"]]),
    ];
    await assert.rejects(runAll(stages, generation), /this stage fails/);
    assert.deepEqual(log, ["vae"]);
    assert.deepEqual(inMemory(), baseline);
  });

  test("frees the first of two components if the second cannot be loaded", async () => {
    const model = await openTinyWorld({
      vae: {
        bytes: 0,
        apply() {
          throw new Error("this adapter does not fit");
        },
      },
    });
    const borrowing = stage(
      { name: "denoise", makes: "latents" },
      [["transformer", "vae"]],
      async (_, __, components) => {
        using _loan = await components.borrow("transformer", "vae");
        return one() as never;
      },
    );
    await assert.rejects(runAll([borrowing], generationWith(model)), /this adapter does not fit/);
    assert.deepEqual(log, ["transformer", "vae"]);
    assert.deepEqual(inMemory(), baseline);
  });

  test("frees a component that was kept for a use which the stage skips", async () => {
    const generation = generationWith(await openTinyWorld());
    let held = 0;
    const stages = [
      text,
      stage({ name: "control", makes: "control" }, [["vae"]], borrowsVae),
      stage({ name: "image", makes: "start" }, [["vae"]]),
      stage({ name: "denoise", makes: "latents" }, [], async () => {
        [held] = inMemory();
        return one() as never;
      }),
      decode,
    ];
    await runAll(stages, generation);
    // Only small artifacts are left by then.
    assert.ok(held - baseline[0] < 20_000, `${held - baseline[0]} bytes held`);
  });

  test("keeps components of a generation for the next under resident", async () => {
    const model = await openTinyWorld();
    const stages = [
      text,
      stage({ name: "control", makes: "control" }, [["vae"]], borrowsVae),
      stage({ name: "decode", makes: "decoded" }, [["vae"]], async (_, __, components) => {
        using _loan = await components.borrow("vae");
        return "the image" as never;
      }),
    ];
    await runAll(stages, generationWith(model), "resident");
    await runAll(stages, generationWith(model), "resident");
    assert.deepEqual(log, ["vae"]);
    model.components.vae!.free();
    assert.deepEqual(inMemory(), baseline);
  });
});

describe("the runner and the VAE in low memory", () => {
  const { prompt, depthImage, width, height, steps } = smallRequest;
  const request = { prompt, depthImage, width, height, steps, image: exampleImage("portrait.png") };

  test("reads it once with previews", async () => {
    using flux = await loadTinyWorld(logLoads(log));
    await collect(flux.steps({ ...request, trustDepth: true, previewEvery: 1 }));
    assert.deepEqual(log, ["text_encoder", "text_encoder_2", "vae", "transformer"]);
  });

  test("reads it twice without previews", async () => {
    using flux = await loadTinyWorld(logLoads(log));
    await collect(flux.steps({ ...request, trustDepth: true }));
    assert.deepEqual(log, ["text_encoder", "text_encoder_2", "vae", "transformer", "vae"]);
  });
});

describe("the runner and artifacts", () => {
  let generation: Generation;
  beforeEach(async () => {
    generation = generationWith(await openTinyWorld());
  });
  afterEach(() => assert.deepEqual(inMemory(), baseline));

  test("frees an artifact after the last stage that reads it", async () => {
    let latents: MxArray | undefined;
    const disposed: Record<string, boolean | undefined> = {};
    const stages = [
      text,
      control,
      stage({ name: "image", makes: "start", reads: ["control"] }, [], async (inputs) => {
        ({ latents } = (inputs as Artifacts).control);
        disposed.image = latents.disposed;
        return one() as never;
      }),
      stage({ name: "denoise", makes: "latents", reads: ["control"] }, [], async () => {
        disposed.denoise = latents?.disposed;
        return one() as never;
      }),
      stage({ name: "decode", makes: "decoded", reads: ["latents"] }, [], async () => {
        disposed.decode = latents?.disposed;
        return make.decoded() as never;
      }),
    ];
    await runAll(stages, generation);
    assert.deepEqual(disposed, { image: false, denoise: false, decode: true });
  });

  test("frees an artifact at once if no stage reads it", async () => {
    const made = one();
    let isDisposed = false;
    const stages = [
      text,
      stage({ name: "control", makes: "control" }, [], async () => ({ latents: made }) as never),
      stage({ name: "decode", makes: "decoded" }, [], async () => {
        isDisposed = made.disposed;
        return make.decoded() as never;
      }),
    ];
    await runAll(stages, generation);
    assert.ok(isDisposed);
  });

  test("leaves a cached artifact to its cache", async () => {
    const cached = make.prompt() as PromptEmbeddings;
    const stages = [
      stage(
        { name: "text", makes: "prompt", cache: () => ({ clear() {} }) },
        [],
        async () => cached as never,
      ),
      control,
      denoise,
      decode,
    ];
    await runAll(stages, generation);
    const arrays = Object.values(cached.embeddings);
    assert.deepEqual(
      arrays.map(({ disposed }) => disposed),
      [false, false],
    );
    for (const array of arrays) array.dispose();
  });

  test("frees all artifacts if a stage fails", async () => {
    const failing = stage(
      { name: "decode", makes: "decoded", reads: ["latents", "control"] },
      [],
      async () => {
        throw new Error("this stage fails");
      },
    );
    await assert.rejects(runAll([text, control, denoise, failing], generation), /this stage fails/);
  });

  test("frees all artifacts if its caller leaves early", async () => {
    for await (const event of runRecipe([text, control, denoise, decode], generation, "low"))
      if (event.type === "stage" && event.stage === "denoise") break;
  });

  test("gives stages null for the artifacts of skipped stages", async () => {
    let read: unknown;
    const reading = stage({ name: "control", makes: "control", reads: ["estimate"] }, [], async (inputs) => {
      read = (inputs as Artifacts).estimate;
      return make.control() as never;
    });
    await runAll([text, reading, denoise, decode], generation);
    assert.equal(read, null);
  });

  test("returns the image, the depth map and the tokens of the prompt", async () => {
    const { finished } = await runAll([text, control, denoise, decode], generation);
    assert.deepEqual(
      [finished.decoded, finished.depthMap, finished.promptTokens],
      ["the image", "the map", 8],
    );
  });
});

describe("the runner and the prompt", () => {
  const cacheWith = (policy: MemoryPolicy) => async (): Promise<unknown> => {
    const generation = generationWith(await openTinyWorld());
    const keeping = stage(
      { name: "text", makes: "prompt", cache: ({ prompts }) => prompts },
      [],
      async () => generation.prompts.keep("a cube", make.prompt() as PromptEmbeddings) as never,
    );
    await runAll([keeping, control, denoise, decode], generation, policy);
    const kept = generation.prompts.get("a cube");
    generation.prompts.clear();
    assert.deepEqual(inMemory(), baseline);
    return kept;
  };

  test("keeps its embeddings under resident", async () => {
    assert.notEqual(await cacheWith("resident")(), null);
  });

  test("frees its embeddings in low memory", async () => {
    assert.equal(await cacheWith("low")(), null);
  });
});

describe("the runner's reports", () => {
  const nameOf = (event: GenerationEvent): string =>
    event.type === "stage"
      ? `${event.stage} ${event.state}`
      : event.type === "warning"
        ? `warning: ${event.message}`
        : event.type;

  test("put a stage's warnings after its end", async () => {
    const generation = generationWith(await openTinyWorld());
    const warning =
      (message: string): Stage["run"] =>
      async (_, { warnings }) => {
        warnings.add(message);
        return (message === "first" ? make.prompt() : make.control()) as never;
      };
    const stages = [
      stage({ name: "text", makes: "prompt" }, [], warning("first")),
      stage({ name: "control", makes: "control" }, [], warning("second")),
      decode,
    ];
    const { events } = await runAll(stages, generation);
    assert.deepEqual(events.map(nameOf), [
      ...["text start", "text end", "warning: first"],
      ...["control start", "control end", "warning: second"],
      ...["decode start", "decode end"],
    ]);
  });

  test("pass on the steps of a stage", async () => {
    const generation = generationWith(await openTinyWorld());
    const step = { type: "step", index: 1, total: 1, sigma: 1, seconds: 0 } as const;
    const stepping = stage({ name: "denoise", makes: "latents" }, [], async function* () {
      yield step;
      return one() as never;
    });
    const { events } = await runAll([text, control, stepping, decode], generation);
    assert.deepEqual(events.map(nameOf).slice(4, 7), ["denoise start", "step", "denoise end"]);
    assert.equal(events[5], step);
  });

  test("count the reading of weights apart from the stages", async () => {
    const generation = generationWith(await openTinyWorld());
    const reading = stage({ name: "control", makes: "control" }, [], async (_, { model }) => {
      model.loading.seconds += 100;
      return make.control() as never;
    });
    const { finished } = await runAll([text, reading, denoise, decode], generation);
    const { load, control: seconds } = finished.timings;
    assert.equal(load, 100);
    assert.ok(seconds! > -100 && seconds! < -90, `${seconds}`);
  });
});
