import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { defaultDevice, memory } from "@mflux-depth/mlx";
import { judgeFor } from "../../src/depth/judge.js";
import { multipliesDepthAsIntegers } from "../../src/depth/precision.js";
import { MemoryError } from "../../src/errors.js";
import type { MemoryPlan } from "../../src/memory/plan.js";
import {
  type GenerateRequest,
  type LoadOptions,
  resolveLoadOptions,
  resolveRequest,
} from "../../src/options/index.js";
import { FluxDepth } from "../../src/pipeline/flux-depth.js";
import { Judge } from "../../src/pipeline/judge.js";
import { findModel, type Model, openModel } from "../../src/pipeline/model/model.js";
import { planGeneration, planModel, workloadOf } from "../../src/pipeline/plan.js";
import { gradientMap, logLoads, onMachineWith } from "../support/tiny-world.js";

const model = "tiny-world";
const request = {
  prompt: "a cube",
  depthImage: gradientMap,
  steps: 1,
  maxSequenceLength: 64,
  seed: 1,
} as const;
const skip = defaultDevice() === "cpu" ? false : "measured on the CPU";

const planOf = (load: LoadOptions, changes: Partial<GenerateRequest>) =>
  planModel(resolveLoadOptions({ model, ...load }), resolveRequest({ ...request, ...changes }));

describe("the estimated peak of each stage is at most three times the measured one", { skip }, () => {
  const cases = [
    { quantize: "none", memory: "low", width: 128, height: 128 },
    { quantize: 4, memory: "resident", width: 256, height: 256 },
    { quantize: 8, memory: "low", width: 512, height: 256 },
    { quantize: 4, memory: "low", width: 384, height: 384 },
  ] as const;
  for (const { width, height, ...load } of cases)
    test(`at ${width} × ${height}, bits ${load.quantize}, memory ${load.memory}`, async () => {
      using flux = await FluxDepth.load({ model, ...load });
      const measured = new Map<string, number>();
      memory.clearCache();
      for await (const event of flux.steps({ ...request, width, height }))
        if (event.type === "stage") {
          if (event.state === "start") memory.resetPeakMemory();
          else measured.set(event.stage, memory.peakMemory());
        }
      const { stages } = await planOf(load, { width, height });
      assert.deepEqual(
        stages.map(({ stage }) => stage),
        [...measured.keys()],
      );
      for (const { stage, weights, work, peak } of stages) {
        const estimated = weights + work;
        const found = measured.get(stage)!;
        const note = `${stage}: ${estimated} estimated, ${found} measured`;
        assert.ok(estimated >= found && estimated <= 3 * found + 1e6, note);
        assert.ok(peak > estimated, note);
      }
    });
});

describe("a plan", () => {
  const peakAt = async (load: LoadOptions, side: number): Promise<number> =>
    (await planOf(load, { width: side, height: side })).peak;

  test("grows with the size", async () => {
    assert.ok((await peakAt({}, 256)) < (await peakAt({}, 512)));
  });

  test("shrinks in low memory", async () => {
    assert.ok((await peakAt({ memory: "low" }, 512)) < (await peakAt({}, 512)));
  });

  test("counts less than half of the weights at 4 bits", async () => {
    const weightsAt = async (quantize: 4 | "none"): Promise<number> =>
      (await planOf({ quantize }, {})).stages.find(({ stage }) => stage === "denoise")!.weights;
    assert.ok((await weightsAt(4)) < (await weightsAt("none")) / 2);
  });

  test("has the stages that a photo adds", async () => {
    const { stages, notes } = await planOf({}, { depthImage: null, image: gradientMap, imageStrength: 0.5 });
    assert.equal(notes.length, multipliesDepthAsIntegers() ? 1 : 0);
    for (const note of notes)
      assert.match(note, /^The depth estimator has 8 bits per weight; .*depthQuantize none/);
    assert.deepEqual(
      stages.map(({ stage }) => stage),
      ["text", "depth", "control", "image", "denoise", "decode"],
    );
  });

  test("leaves out the depth stage, with a note, if the estimator is not on this machine", async () => {
    const { stages, notes } = await planOf(
      { depthModel: "nobody/absent" },
      { depthImage: null, image: gradientMap },
    );
    assert.ok(!stages.some(({ stage }) => stage === "depth"));
    assert.equal(notes.length, 1);
    assert.match(notes[0]!, /^The stage depth is left out: /);
  });
});

describe("the stage judge, for an image that is scored", () => {
  /** Without freed buffers, which neither the measured peak nor the small machine includes. */
  const cacheLimitGb = 1e-3;
  const judgeOf = async (load: LoadOptions, judge = judgeFor({ model })) => {
    const size = { width: 256, height: 256 };
    const made = await planModel(
      resolveLoadOptions({ model, cacheLimitGb, ...load }),
      resolveRequest({ ...request, ...size }),
      { judge },
    );
    return { ...made, judge: made.stages.find(({ stage }) => stage === "judge") };
  };

  test("takes at least the measured memory, and at most three times as much plus 30 MB", {
    skip,
  }, async () => {
    using flux = await FluxDepth.load({ model, memory: "low" });
    const result = await flux.generate({ ...request, width: 256, height: 256 });
    using judge = await Judge.obtain(flux, request);
    memory.clearCache();
    memory.resetPeakMemory();
    await judge.score(result);
    const measured = memory.peakMemory();
    const { weights, work } = (await judgeOf({ memory: "low" })).judge!;
    const note = `${weights + work} estimated, ${measured} measured`;
    // Estimators count 30 MB for buffers whose size does not follow from theirs, which is most of what a tiny one takes.
    assert.ok(weights + work >= measured && weights + work <= 3 * measured + 30e6, note);
  });

  test("counts the model's weights if they stay and there is room", async () => {
    const [low, resident] = [await judgeOf({ memory: "low" }), await judgeOf({ memory: "resident" })];
    assert.ok(resident.judge!.weights > low.judge!.weights + 5e6);
    const small = (low.judge!.peak + 1e6) / 1e9;
    const { judge } = await onMachineWith(small, () => judgeOf({ memory: "resident" }));
    assert.equal(judge!.weights, low.judge!.weights);
  });

  test("is left out with a note if the judge is not on this machine", async () => {
    const { judge, notes } = await judgeOf({}, "nobody/absent");
    assert.equal(judge, undefined);
    assert.match(notes.join(), /^The stage judge is left out: /);
  });
});

test("a plan counts the control latents and the map that resident keeps", async () => {
  const textOf = async (load: LoadOptions) =>
    (await planOf(load, { width: 512, height: 256 })).stages.find(({ stage }) => stage === "text")!.work;
  const [low, resident] = [await textOf({ memory: "low" }), await textOf({ memory: "resident" })];
  // Float32: the map, and 16 channels for every 8 × 8 pixels.
  assert.equal(resident - low, 4 * (512 * 256 + 16 * 64 * 32));
});

describe("a workload", () => {
  const textTokens = (maxSequenceLength?: number): number =>
    workloadOf(resolveRequest({ prompt: "a cube", depthImage: gradientMap, maxSequenceLength }), {
      estimatesDepth: false,
    }).textTokens;

  test("has the tokens that the request allows", () => {
    assert.equal(textTokens(64), 64);
  });

  test("has the tokens of the longest prompt unless the request limits them", () => {
    assert.equal(textTokens(), 512);
  });
});

describe("a plan that does not fit", () => {
  const machine = { total: 0.215e9, available: 0.215e9, source: "GPU" } as const;
  const policy = "resident";
  let opened: Model;
  let plan: MemoryPlan;
  const workload = workloadOf(resolveRequest({ ...request, width: 1024, height: 512 }), {
    estimatesDepth: false,
  });
  before(async () => {
    const options = resolveLoadOptions({ model });
    const { files } = await findModel(options);
    opened = openModel(files, options, defaultDevice());
    plan = planGeneration(opened, workload, { policy, estimator: null, machine });
    assert.equal(plan.fits, false);
  });

  test("offers smaller images of about the same proportions", () => {
    assert.ok(plan.alternatives.length > 0);
    for (const { width, height } of plan.alternatives)
      assert.ok(width! < 1024 && Math.abs(width! / height! - 2) < 0.2);
  });

  test("offers only alternatives that fit", () => {
    for (const { peak } of plan.alternatives) assert.ok(peak <= machine.available);
  });

  test("gives the peak that an alternative would have", () => {
    const sameBits = plan.alternatives.filter(({ quantize }) => quantize === undefined);
    assert.ok(sameBits.length > 0);
    for (const { peak, width, height, memory: changed = policy } of sameBits) {
      const smaller = { ...workload, width: width!, height: height! };
      const again = planGeneration(opened, smaller, { policy: changed, estimator: null, machine });
      assert.equal(again.peak, peak);
    }
  });
});

describe("with less memory, the autoencoder", { skip }, () => {
  const large = { ...request, width: 384, height: 384 };
  interface Made {
    data: Uint8Array;
    peak: number;
  }
  let whole: Made;
  let inBands: Made;
  let planned: Awaited<ReturnType<typeof planOf>>;
  let plannedInBands: typeof planned;
  before(async () => {
    // 8-bit inputs would amplify differences in the last digit.
    using flux = await FluxDepth.load({ model, memory: "low", int8: false });
    const make = async (): Promise<Made> => {
      memory.clearCache();
      memory.resetPeakMemory();
      const { image } = await flux.generate(large);
      return { data: image.data, peak: memory.peakMemory() };
    };
    whole = await make();
    planned = await planOf({ memory: "low" }, large);
    [inBands, plannedInBands] = await onMachineWith((planned.peak - 0.035e9) / 1e9, async () => [
      await make(),
      await planOf({ memory: "low" }, large),
    ]);
  });

  test("takes less", () => {
    assert.ok(inBands.peak < whole.peak - 10e6, `${inBands.peak} in bands, ${whole.peak} without`);
  });

  test("takes no more than planned", () => {
    const { weights, work } = plannedInBands.stages.at(-1)!;
    assert.ok(inBands.peak <= weights + work, `${inBands.peak} held, ${weights + work} planned`);
  });

  test("makes the plan fit", () => {
    assert.ok(planned.fits && plannedInBands.fits && plannedInBands.peak < planned.peak - 0.03e9);
    assert.equal(planned.stages.length, plannedInBands.stages.length);
  });

  test("makes the same image", () => {
    const furthest = inBands.data.reduce((most, v, i) => Math.max(most, Math.abs(v - whole.data[i]!)), 0);
    assert.ok(furthest <= 1, `${furthest} of 255`);
  });
});

describe("the check before a generation", () => {
  test("refuses before any weights are read", async () => {
    const loaded: string[] = [];
    using flux = await FluxDepth.load({ model, ...logLoads(loaded) });
    await onMachineWith(0.2, () =>
      assert.rejects(flux.generate({ ...request, width: 512, height: 512 }), MemoryError),
    );
    assert.deepEqual(loaded, []);
  });

  test("lets a smaller request of the same instance in", async () => {
    using flux = await FluxDepth.load({ model });
    await onMachineWith(0.2, () =>
      assert.rejects(flux.generate({ ...request, width: 512, height: 512 }), MemoryError),
    );
    const { image } = await flux.generate({ ...request, width: 64, height: 64 });
    assert.equal(image.width, 64);
  });

  test("only warns if force is set", async () => {
    using flux = await FluxDepth.load({ model, force: true });
    const { warnings } = await onMachineWith(0.1, () => flux.generate({ ...request, width: 64, height: 64 }));
    assert.match(warnings.join(), /This may need \d{3}\.\d MB of memory, but only 100\.0 MB is available/);
  });
});
