import assert from "node:assert/strict";
import { Readable, Writable } from "node:stream";
import { after, before, describe, test } from "node:test";
import { defaultDevice, memory } from "@mflux-depth/mlx";
import { main } from "../../src/cli/main.js";
import { MemoryError } from "../../src/errors.js";
import { machineMemory } from "../../src/memory/machine.js";
import { requireFit } from "../../src/memory/plan.js";
import {
  type GenerateRequest,
  type LoadOptions,
  resolveLoadOptions,
  resolveRequest,
} from "../../src/options/index.js";
import { FluxDepth } from "../../src/pipeline/flux-depth.js";
import { findModel, openModel } from "../../src/pipeline/model.js";
import { planGeneration, planModel, workloadOf } from "../../src/pipeline/plan.js";

const model = "tiny-world";
const map = { data: new Uint8Array(64 * 64).map((_, i) => i % 256), width: 64, height: 64, channels: 1 };
const base = { prompt: "a cube", depthImage: map, steps: 1, maxSequenceLength: 64, seed: 1 } as const;

const planOf = (load: LoadOptions, request: Partial<GenerateRequest>) =>
  planModel(resolveLoadOptions({ model, ...load }), resolveRequest({ ...base, ...request }));

/** Runs with another machine's memory. */
async function onMachineOf<T>(gigabytes: number, run: () => Promise<T>): Promise<T> {
  process.env.MFLUX_DEPTH_MEMORY_GB = `${gigabytes}`;
  try {
    return await run();
  } finally {
    delete process.env.MFLUX_DEPTH_MEMORY_GB;
  }
}

describe("sizes of weights from headers", () => {
  for (const quantize of [3, 4, 5, 6, 8, "none"] as const)
    test(`are what is held, with ${quantize} bits`, async () => {
      const options = resolveLoadOptions({ model, quantize, dtype: "float32" });
      const { files } = await findModel(options);
      const { components } = openModel(files, options, defaultDevice());
      for (const part of Object.values(components)) {
        memory.clearCache();
        const free = memory.activeMemory();
        const { bytes } = part.size();
        await part.get();
        const held = memory.activeMemory() - free;
        part.free();
        // Buffers are rounded up.
        assert.ok(held >= bytes && held < 1.05 * bytes + 20_000, `${held} held, ${bytes} predicted`);
      }
    });
});

describe("peaks of stages", { skip: defaultDevice() === "cpu" ? false : "measured on the CPU" }, () => {
  const cases = [
    { quantize: "none", memory: "low", width: 128, height: 128 },
    { quantize: 4, memory: "resident", width: 256, height: 256 },
    { quantize: 8, memory: "low", width: 512, height: 256 },
    { quantize: 4, memory: "low", width: 512, height: 512 },
  ] as const;
  for (const { width, height, ...load } of cases)
    test(`at ${width}×${height} with ${load.quantize} bits, ${load.memory}, are within a factor of 3`, async () => {
      using flux = await FluxDepth.load({ model, ...load });
      const measured = new Map<string, number>();
      memory.clearCache();
      for await (const event of flux.steps({ ...base, width, height }))
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
        const predicted = weights + work;
        const found = measured.get(stage)!;
        const note = `${stage}: ${predicted} predicted, ${found} measured`;
        assert.ok(predicted >= found && predicted <= 3 * found + 1e6, note);
        assert.ok(peak > predicted, note);
      }
    });
});

describe("plans", () => {
  test("grow with size and bits, and shrink with memory low", async () => {
    const peak = async (load: LoadOptions, size: number): Promise<number> =>
      (await planOf(load, { width: size, height: size })).peak;
    const [small, large, low] = [
      await peak({}, 256),
      await peak({}, 512),
      await peak({ memory: "low" }, 512),
    ];
    assert.ok(small < large && low < large);
    const [four, whole] = [await planOf({ quantize: 4 }, {}), await planOf({ quantize: "none" }, {})];
    const weights = ({ stages }: typeof four): number =>
      stages.find(({ stage }) => stage === "denoise")!.weights;
    assert.ok(weights(four) < weights(whole) / 2);
  });

  test("name the stages that a photo adds", async () => {
    const { stages, notes } = await planOf({}, { depthImage: null, image: map, imageStrength: 0.5 });
    assert.deepEqual(notes, []);
    assert.deepEqual(
      stages.map(({ stage }) => stage),
      ["text", "depth", "control", "image", "denoise", "decode"],
    );
  });

  test("that do not fit name settings that do", async () => {
    const machine = { total: 0.215e9, available: 0.215e9, source: "GPU" } as const;
    const options = resolveLoadOptions({ model });
    const { files } = await findModel(options);
    const opened = openModel(files, options, defaultDevice());
    const workload = workloadOf(resolveRequest({ ...base, width: 1024, height: 512 }), {
      estimatesDepth: false,
    });
    const plan = planGeneration(opened, workload, { policy: options.memory, estimator: null, machine });
    assert.equal(plan.fits, false);
    assert.ok(plan.alternatives.length > 0);
    for (const { peak, width, height, memory: policy, quantize } of plan.alternatives) {
      assert.ok(peak <= machine.available);
      assert.ok(width! < 1024 && Math.abs(width! / height! - 2) < 0.2);
      const again = planGeneration(
        opened,
        { ...workload, width: width!, height: height! },
        { policy: policy ?? options.memory, estimator: null, machine },
      );
      if (quantize === undefined) assert.equal(again.peak, peak);
    }
    assert.throws(
      () => requireFit(plan),
      (error: unknown) => {
        assert.ok(error instanceof MemoryError);
        assert.equal(error.exitCode, 1);
        assert.equal(error.needed, plan.peak);
        assert.match(error.message, /[\d.]+ MB are available \(GPU\)\.$/);
        assert.deepEqual(error.alternatives, plan.alternatives);
        return true;
      },
    );
  });

  test("count the machine's own memory, and what this process holds as available", () => {
    const { total, available } = machineMemory("cpu", {});
    assert.ok(available > 0 && available <= total);
    assert.deepEqual(machineMemory("cpu", { MFLUX_DEPTH_MEMORY_GB: "1.5" }), {
      total: 1.5e9,
      available: 1.5e9,
      source: "MFLUX_DEPTH_MEMORY_GB",
    });
  });
});

describe("the autoencoder", { skip: defaultDevice() === "cpu" ? false : "measured on the CPU" }, () => {
  test("keeps to the memory that there is, and the picture stays the same", async () => {
    const request = { ...base, width: 512, height: 512 };
    // Inputs that are rounded to 8 bits make more of the last digit than there is in it.
    using flux = await FluxDepth.load({ model, memory: "low", int8: false });
    const make = async (): Promise<{ data: Uint8Array; peak: number }> => {
      memory.clearCache();
      memory.resetPeakMemory();
      const { image } = await flux.generate(request);
      return { data: image.data, peak: memory.peakMemory() };
    };
    const whole = await make();
    const { peak, stages, fits } = await planOf({ memory: "low" }, request);
    const least = (peak - 0.06e9) / 1e9;
    const [small, plan] = await onMachineOf(least, async () => [
      await make(),
      await planOf({ memory: "low" }, request),
    ]);
    assert.ok(fits && plan.fits && plan.peak < peak - 0.05e9);
    assert.ok(small.peak < whole.peak - 20e6, `${small.peak} where whole maps take ${whole.peak}`);
    const { weights, work } = plan.stages.at(-1)!;
    assert.ok(small.peak <= weights + work, `${small.peak} held, ${weights + work} planned`);
    assert.equal(stages.length, plan.stages.length);
    const furthest = small.data.reduce((most, v, i) => Math.max(most, Math.abs(v - whole.data[i]!)), 0);
    assert.ok(furthest <= 1, `${furthest} of 255`);
  });
});

describe("the check before a generation", () => {
  test("refuses before anything is loaded", async () => {
    const loaded: string[] = [];
    using flux = await FluxDepth.load({
      model,
      onProgress: (event) => void ("component" in event && loaded.push(event.component)),
    });
    await onMachineOf(0.2, () =>
      assert.rejects(flux.generate({ ...base, width: 512, height: 512 }), MemoryError),
    );
    assert.deepEqual(loaded, []);
    const small = await flux.generate({ ...base, width: 64, height: 64 });
    assert.equal(small.image.width, 64);
  });

  test("goes on when it is forced, with a warning", async () => {
    using flux = await FluxDepth.load({ model, force: true });
    const { warnings } = await onMachineOf(0.1, () => flux.generate({ ...base, width: 128, height: 128 }));
    assert.match(warnings.join(), /This may need \d{3}\.\d MB of memory, and 100\.0 MB are available/);
  });
});

describe("mflux-depth plan", () => {
  const collect = (): { stream: Writable; text: () => string } => {
    let text = "";
    const stream = new Writable({
      write(chunk, _, done) {
        text += chunk;
        done();
      },
    });
    return { stream, text: () => text };
  };
  const run = async (...argv: string[]) => {
    const [out, err] = [collect(), collect()];
    const code = await main(["plan", ...argv], {
      stdin: Readable.from([]),
      stdout: out.stream,
      stderr: err.stream,
      env: {},
      signal: new AbortController().signal,
    });
    return { code, out: out.text(), err: err.text() };
  };

  let cache: string | undefined;
  before(() => {
    cache = process.env.HF_HUB_CACHE;
    process.env.HF_HUB_CACHE = "/nowhere";
  });
  after(() => {
    if (cache === undefined) delete process.env.HF_HUB_CACHE;
    else process.env.HF_HUB_CACHE = cache;
  });

  test("prints each stage, the machine and the verdict", async () => {
    const { code, out } = await run("--model", model, "--width", "512", "--height", "512", "--low-ram");
    assert.equal(code, 0);
    for (const stage of ["text", "control", "denoise", "decode"])
      assert.match(out, new RegExp(`^${stage}( +[1-9][\\d.]* (GB|MB|kB)){3}$`, "m"));
    assert.match(out, /This machine has [\d.]+ GB of memory, of which [\d.]+ [GM]B are available/);
    assert.match(out, /It fits/);
  });

  test("exits with 1 and names flags when it would not fit", async () => {
    const { code, out } = await onMachineOf(0.25, () => run("--model", model));
    assert.equal(code, 1);
    assert.match(out, /It does not fit\. It would with:\n.*--width \d+ --height \d+: [\d.]+ MB/);
  });

  test("prints JSON", async () => {
    const { code, out } = await run("--model", model, "--json", "-q", "8");
    assert.equal(code, 0);
    const { stages, peak, fits } = JSON.parse(out) as Awaited<ReturnType<typeof planOf>>;
    assert.equal(peak, Math.max(...stages.map((one) => one.peak)));
    assert.equal(fits, true);
  });

  test("says that a model is not on this machine", async () => {
    const { code, err } = await run();
    assert.equal(code, 1);
    assert.match(err, /FLUX\.1-Depth-dev: it is neither a folder nor.*in the Hugging Face cache/);
  });
});
