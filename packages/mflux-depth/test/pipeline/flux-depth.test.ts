import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  backend,
  defaultDevice,
  loadSafetensors,
  type MxArray,
  memory,
  saveSafetensors,
  setThreads,
  zeros,
} from "@mflux-depth/mlx";
import { ModelError, OptionError } from "../../src/errors.js";
import { inspectImage, readDepthMap, readPhoto } from "../../src/images/decode.js";
import { toLevels } from "../../src/images/encode.js";
import { toModelInput } from "../../src/images/model-input.js";
import {
  FluxDepth,
  type FluxDepthOptions,
  type GenerateOptions,
  type GenerationResult,
  type Picture,
  type Stage,
  type StepEvent,
} from "../../src/index.js";
import { readParameters } from "../../src/pipeline/metadata.js";
import { patchPacking, toChannelsFirst } from "../../src/sampling/latents.js";
import { relativeError } from "../support/tensors.js";

const goldens = fileURLToPath(new URL("../../../test/golden/", import.meta.url));
const images = fileURLToPath(new URL("../../../../../examples/images/", import.meta.url));
const bundled = fileURLToPath(new URL("../../../models/tiny-world", import.meta.url));

const scratch = mkdtempSync(join(tmpdir(), "pipeline-"));
after(() => rmSync(scratch, { recursive: true }));

const load = (options: FluxDepthOptions = {}): Promise<FluxDepth> =>
  FluxDepth.load({ model: "tiny-world", quantize: "none", dtype: "float32", memory: "low", ...options });

/** A small request: quick, and big enough that no part of the model is idle. */
const small: GenerateOptions = {
  prompt: "a gold portrait, at sunset",
  depthImage: join(images, "portrait_depth.png"),
  width: 64,
  height: 96,
  steps: 2,
  seed: 7,
};

/** Reads tensors as typed arrays. */
function readTensors(path: string): Map<string, ArrayLike<number>> {
  const { arrays } = loadSafetensors(path);
  const values = new Map<string, ArrayLike<number>>();
  for (const [name, one] of arrays) {
    values.set(name, one.toTypedArray() as Float32Array);
    one.dispose();
  }
  return values;
}

/** Mean distance in levels of 255. */
const distance = (a: Picture, b: Picture): number =>
  a.data.reduce((sum, level, i) => sum + Math.abs(level - b.data[i]!), 0) / a.data.length;

const digest = ({ image, latents }: GenerationResult): string =>
  createHash("sha256").update(image.data).update(new Uint8Array(latents.data.buffer)).digest("hex");

const inMemory = (): [bytes: number, handles: number] => [memory.activeMemory(), memory.liveHandles()];

interface Case {
  prompt: string;
  depth?: string;
  image?: string;
  photo?: string;
  strength?: number;
  width: number;
  height: number;
  steps: number;
  guidance: number;
}

describe("against diffusers", () => {
  const { pipeline } = JSON.parse(readFileSync(join(goldens, "index.json"), "utf8")) as { pipeline: Case[] };
  let flux: FluxDepth;
  before(async () => {
    flux = await load();
  });

  for (const [n, given] of pipeline.entries()) {
    const { prompt, width, height, steps, guidance } = given;
    const photo = given.image ?? given.photo;
    const kind = given.photo ? "a photo" : given.image ? "a map and a photo to start from" : "a map";
    test(`from ${kind}: "${prompt}", ${steps} steps`, async () => {
      const expected = readTensors(join(goldens, `pipeline_${n}.safetensors`));
      const baseline = inMemory();
      const events: StepEvent[] = [];
      let result: GenerationResult | undefined;
      for await (const event of flux.steps({
        prompt,
        width,
        height,
        steps,
        guidance,
        latents: expected.get("noise") as Float32Array,
        depthImage: given.depth && join(images, given.depth),
        image: photo && join(images, photo),
        imageStrength: given.strength && 1 - given.strength,
        withLatents: true,
      })) {
        if (event.type === "step") events.push(event);
        if (event.type === "result") result = event.result;
      }
      assert.ok(relativeError(events[0]!.latents!.data, expected.get("first_step")!) <= 2e-5);
      assert.ok(relativeError(result!.latents.data, expected.get("latents")!) <= 3e-4);
      assert.deepEqual(result!.latents.shape, [1, 16, height / 8, width / 8]);
      assert.deepEqual(result!.latents, events.at(-1)!.latents);
      assert.equal(events.length, given.strength ? Math.trunc(steps * given.strength) : steps);
      const reference = expected.get("image")!;
      const far = result!.image.data.filter((level, i) => Math.abs(level - reference[i]!) > 2).length;
      assert.equal(result!.image.data.length, reference.length);
      assert.ok(far <= reference.length / 1000, `${far} of ${reference.length}`);
      assert.deepEqual(inMemory(), baseline);
    });
  }
});

describe("a generation", () => {
  test("reports its stages and steps in order, and reads no weights before their stage", async () => {
    const log: string[] = [];
    const { options } = loggingLoads(log);
    using flux = await load(options);
    assert.equal(log.length, 0);
    let result: GenerationResult | undefined;
    for await (const event of flux.steps({
      ...small,
      image: join(images, "portrait.png"),
      imageStrength: 0.5,
      trustDepth: true,
    })) {
      if (event.type === "stage") log.push(`${event.stage} ${event.state}`);
      if (event.type === "step")
        log.push(`step ${event.index}/${event.total} from ${event.sigma.toFixed(2)}`);
      if (event.type === "result") result = event.result;
    }
    assert.deepEqual(log, [
      ...["text start", "text_encoder", "text_encoder_2", "text end"],
      ...["control start", "vae", "control end"],
      ...["image start", "image end"],
      ...["denoise start", "transformer", "step 1/1 from 0.61", "denoise end"],
      ...["decode start", "vae", "decode end"],
    ]);
    const { load: loading, ...stages } = result!.timings;
    assert.deepEqual(Object.keys(stages), ["text", "control", "image", "denoise", "decode"]);
    assert.ok(loading! > 0 && Object.values(stages).every((seconds) => seconds > 0));
    assert.deepEqual(result!.metadata.stage_seconds, stages);
  });

  test("compares a map with the depth of the photo, once for several seeds, and says so before the steps", async () => {
    const log: string[] = [];
    const { options } = loggingLoads(log);
    using flux = await load({ ...options, memory: "resident" });
    // A room comes nearer towards its borders: by its looks alone, its map passes either way round.
    const request = {
      ...small,
      image: join(images, "room.png"),
      depthImage: join(images, "room_depth.png"),
      imageStrength: 0.5,
    };
    for (const unseen of [{ imageStrength: 0 }, { trustDepth: true }])
      assert.deepEqual((await flux.generate({ ...request, ...unseen, invertDepth: true })).warnings, []);
    assert.ok(!log.includes("depth_pro"));
    assert.deepEqual((await flux.generate(request)).warnings, []);

    const events: string[] = [];
    let warnings: readonly string[] = [];
    for await (const event of flux.steps({ ...request, invertDepth: true, seed: 8 })) {
      events.push(event.type === "stage" ? `${event.stage} ${event.state}` : event.type);
      if (event.type === "warning")
        assert.match(event.message, /disagrees with the photo's depth.*leave out invertDepth/);
      if (event.type === "result") warnings = event.result.warnings;
    }
    assert.equal(warnings.length, 1);
    assert.deepEqual(events.slice(2, 6), ["depth start", "depth end", "warning", "control start"]);
    assert.equal(log.filter((part) => part === "depth_pro").length, 1);
  });

  test("does without the comparison where Depth Pro is not on this machine, and says why it failed", async () => {
    const both = { ...small, image: join(images, "portrait.png"), imageStrength: 0.5 };
    using without = await load({ depthModel: "nobody/absent" });
    assert.deepEqual((await without.generate(both)).warnings, []);
    const folder = join(scratch, "damaged-depth");
    mkdirSync(folder);
    for (const file of readdirSync(join(bundled, "depth_pro")))
      copyFileSync(join(bundled, "depth_pro", file), join(folder, file));
    const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    config.fusion_hidden_size *= 2;
    writeFileSync(join(folder, "config.json"), JSON.stringify(config));
    using damaged = await load({ depthModel: folder });
    const [warning, ...others] = (await damaged.generate(both)).warnings;
    assert.match(warning!, /not compared with the photo's depth: .*damaged-depth/);
    assert.deepEqual(others, []);
  });

  test("loads Depth Pro only for a photo without a map, and once for several seeds", async () => {
    const log: string[] = [];
    const { options } = loggingLoads(log);
    using flux = await load({ ...options, memory: "resident" });
    await flux.generate({ ...small, image: join(images, "portrait.png"), imageStrength: 0 });
    assert.ok(!log.includes("depth_pro"));
    log.length = 0;
    const { depthImage: _, ...photo } = { ...small, image: join(images, "portrait.png") };
    const first = await flux.generate(photo);
    const second = await flux.generate({ ...photo, seed: 8 });
    assert.deepEqual(log, ["depth_pro"]);
    assert.deepEqual(first.depthMap, second.depthMap);
    assert.notDeepEqual(first.image, second.image);
    assert.equal(first.metadata.depth_source, "photo");
    const estimate = await flux.estimateDepth(join(images, "portrait.png"));
    const map = estimate.map(64, 96);
    assert.ok(relativeError(first.depthMap.data, map.data) < 1e-6);
  });

  test("keeps nothing in low memory, and frees all when a resident one is disposed", async () => {
    const baseline = inMemory();
    const low = await load();
    const once = await low.generate(small);
    assert.deepEqual(inMemory(), baseline);

    const log: string[] = [];
    const { options } = loggingLoads(log);
    const resident = await load({ ...options, memory: "resident" });
    const first = await resident.generate(small);
    assert.deepEqual(log, ["text_encoder", "text_encoder_2", "vae", "transformer"]);
    const held = inMemory();
    assert.ok(held[0] > baseline[0] + 9e6 * 2);
    const second = await resident.generate({ ...small, seed: 8 });
    const again = await resident.generate(small);
    const other = await resident.generate({ ...small, prompt: "mountains covered in snow, at night" });
    assert.deepEqual(inMemory(), held);
    assert.equal(log.length, 4);
    assert.equal(digest(first), digest(once));
    assert.equal(digest(again), digest(once));
    assert.notEqual(digest(second), digest(once));
    assert.notEqual(digest(other), digest(once));
    resident.dispose();
    assert.deepEqual(inMemory(), baseline);
  });

  test("shares the work among as many threads as asked for, where it can", async () => {
    const before = backend().blas.threads;
    if (process.platform !== "linux" || defaultDevice() !== "cpu") {
      await assert.rejects(
        load({ threads: 1 }),
        (error) => error instanceof OptionError && error.option === "threads",
      );
      return;
    }
    try {
      using flux = await load({ threads: before + 1 });
      assert.equal(backend().blas.threads, before + 1);
      assert.equal(flux.options.threads, before + 1);
    } finally {
      setThreads(before);
    }
  });

  test("draws a seed for 0 and says which; noise that is given has none", async () => {
    using flux = await load();
    const drawn = await flux.generate({ ...small, seed: 0 });
    assert.ok(drawn.seed !== null && drawn.seed > 0);
    assert.equal(digest(await flux.generate({ ...small, seed: drawn.seed })), digest(drawn));
    const grid = { rows: 6, columns: 4, channels: 16 };
    using noise = patchPacking.noise(drawn.seed, grid);
    using unpacked = patchPacking.unpack(noise, grid);
    using channelsFirst = toChannelsFirst(unpacked);
    const latents = channelsFirst.toTypedArray() as Float32Array;
    const given = await flux.generate({ ...small, latents });
    assert.equal(given.seed, null);
    assert.equal(digest(given), digest(drawn));
  });

  test("previews come nearer to the picture", async () => {
    using flux = await load();
    const previews: [index: number, picture: Picture][] = [];
    let image: Picture | undefined;
    for await (const event of flux.steps({ ...small, width: 128, height: 128, steps: 8, previewEvery: 2 })) {
      if (event.type === "step" && event.preview) previews.push([event.index, event.preview]);
      if (event.type === "result") image = event.result.image;
    }
    assert.deepEqual(
      previews.map(([index]) => index),
      [2, 4, 6],
    );
    const distances = previews.map(([, preview]) => distance(preview, image!));
    assert.ok(distances[0]! > distances[1]! && distances[1]! > distances[2]!, `${distances}`);
    assert.ok(distances[2]! < 6, `${distances}`);
  });

  test("with all steps skipped decodes the photo as encoded", async () => {
    using flux = await load();
    const path = join(images, "portrait.png");
    let steps = 0;
    const result = await flux.generate({
      ...small,
      image: path,
      imageStrength: 1,
      width: 256,
      height: 256,
      onStep: () => steps++,
    });
    assert.equal(steps, 0);
    const photo = await toModelInput(await readPhoto(path), 256, 256);
    const data = Uint8Array.from(photo, (x) => Math.round((x / 2 + 0.5) * 255));
    assert.ok(distance(result.image, { data, width: 256, height: 256 }) < 6);
  });

  test("quantized comes near, nearer with more bits, and takes less memory", async () => {
    const request = { ...small, steps: 1 };
    const sizes: number[] = [];
    const latents: Float32Array[] = [];
    for (const quantize of ["none", 8, 4] as const) {
      const before = memory.activeMemory();
      using flux = await load({ quantize, memory: "resident" });
      latents.push((await flux.generate(request)).latents.data);
      sizes.push(memory.activeMemory() - before);
    }
    const [dense, eight, four] = latents as [Float32Array, Float32Array, Float32Array];
    assert.ok(relativeError(eight, dense) > 0);
    assert.ok(relativeError(eight, dense) < relativeError(four, dense) / 4);
    assert.ok(relativeError(four, dense) < 0.2);
    assert.ok(sizes[2]! < sizes[1]! && sizes[1]! < sizes[0]! * 0.75, `${sizes}`);
  });

  test("in bfloat16 comes near float32", async () => {
    using whole = await load();
    using half = await load({ dtype: "bfloat16" });
    const request = { ...small, steps: 1, width: 64, height: 64 };
    const [expected, found] = [await whole.generate(request), await half.generate(request)];
    const error = relativeError(found.latents.data, expected.latents.data);
    assert.ok(error > 1e-5 && error < 0.1, `${error}`);
    assert.equal(found.metadata.precision, "bfloat16");
  });

  test("warns of what it did not do as asked", async () => {
    using flux = await load();
    const tail = "and a lot more of the same ".repeat(12).trim();
    const { warnings, image } = await flux.generate({
      ...small,
      prompt: `a gold portrait ${tail}`,
      width: 70,
      steps: 1,
    });
    assert.equal(image.width, 64);
    assert.ok(warnings.some((warning) => /width 70/.test(warning)));
    assert.ok(warnings.some((warning) => /64 tokens that T5 reads; cut: ".*of the same"/.test(warning)));
    assert.ok(warnings.some((warning) => /77 tokens that CLIP reads; cut: ".*of the same"/.test(warning)));
  });

  test("takes an inverted map as what it means, and warns of one that seems to be", async () => {
    using flux = await load();
    const map = await readDepthMap(small.depthImage!);
    const data = toLevels(map, 8).map((level) => 255 - level);
    const depthImage = { data, width: map.width, height: map.height, channels: 1 };
    const expected = await flux.generate(small);
    assert.ok(!expected.warnings.some((warning) => /invertDepth/.test(warning)));
    const inverted = await flux.generate({ ...small, depthImage, invertDepth: true });
    assert.deepEqual(inverted.depthMap, expected.depthMap);
    assert.equal(inverted.metadata.depth_inverted, true);
    assert.ok(!inverted.warnings.some((warning) => /invertDepth/.test(warning)));
    const wrong = await flux.generate({ ...small, depthImage, steps: 1 });
    assert.ok(wrong.warnings.some((warning) => /invertDepth/.test(warning)));
  });

  test("is saved with its parameters", async () => {
    using flux = await load();
    const result = await flux.generate(small);
    const path = await result.save(join(scratch, "picture.png"), { sidecar: true });
    const { exif, width, height } = await inspectImage(path);
    assert.deepEqual([width, height], [64, 96]);
    assert.deepEqual(readParameters(exif), JSON.parse(JSON.stringify(result.metadata)));
    assert.deepEqual(
      JSON.parse(readFileSync(join(scratch, "picture.metadata.json"), "utf8")),
      JSON.parse(JSON.stringify(result.metadata)),
    );
    assert.equal(result.metadata.model, "tiny-world");
    assert.equal(result.metadata.seed, 7);
    assert.equal(result.metadata.max_sequence_length, 64);
    const map = await readPhoto(await result.saveDepthMap(join(scratch, "depth.png")));
    const grey = Float32Array.from({ length: 64 * 96 }, (_, i) => map.data[3 * i]!);
    assert.ok(relativeError(grey, result.depthMap.data) < 1e-4);
  });

  test("refuses options that cannot be, before any work", async () => {
    using flux = await load();
    const refuse = (request: object, option: string): Promise<void> =>
      assert.rejects(
        flux.generate({ ...small, ...request }),
        (error) => error instanceof OptionError && error.option === option,
      );
    await refuse({ latents: new Float32Array(12) }, "latents");
    await refuse({ stepz: 3 }, "stepz");
    await refuse({ steps: 0 }, "steps");
    await assert.rejects(load({ quantise: 4 } as FluxDepthOptions), OptionError);
  });
});

/** Options that write down which weights are read. */
function loggingLoads(log: string[]): { options: FluxDepthOptions } {
  const onProgress: FluxDepthOptions["onProgress"] = (progress) => {
    assert.ok(progress.state !== "download" && progress.bytes > 0);
    if (progress.state === "start") log.push(progress.component);
    else assert.ok(log.includes(progress.component));
    assert.equal(progress.seconds! > 0, progress.state === "end");
  };
  return { options: { onProgress } };
}

describe("several generations", () => {
  test("of one instance wait for each other", async () => {
    using flux = await load({ memory: "resident" });
    const seeds = [1, 2, 3];
    const alone: string[] = [];
    for (const seed of seeds) alone.push(digest(await flux.generate({ ...small, seed })));
    const reports: number[] = [];
    const together = await Promise.all(
      seeds.map(async (seed) => {
        for await (const event of flux.steps({ ...small, seed })) {
          reports.push(seed);
          if (event.type === "result") return digest(event.result);
        }
        return "";
      }),
    );
    assert.deepEqual(together, alone);
    assert.deepEqual(reports, reports.toSorted());
  });

  test("one that gives up waiting leaves the others alone", async () => {
    using flux = await load({ memory: "resident" });
    const controller = new AbortController();
    const reason = new Error("no longer wanted");
    const first = flux.generate(small);
    const second = flux.generate({ ...small, signal: controller.signal });
    const third = flux.generate(small);
    await sleep(5);
    controller.abort(reason);
    await assert.rejects(second, (error) => error === reason);
    assert.equal(digest(await third), digest(await first));
  });

  test("of two instances at once do not disturb each other", async () => {
    using one = await load();
    using other = await load();
    const expected = digest(await one.generate(small));
    const results = await Promise.all([one.generate(small), other.generate(small)]);
    assert.deepEqual(results.map(digest), [expected, expected]);
  });
});

describe("an end before the end", () => {
  const request: GenerateOptions = {
    ...small,
    width: 128,
    height: 128,
    image: join(images, "portrait.png"),
    imageStrength: 0.4,
    steps: 5,
  };
  const { depthImage: _, ...fromPhoto } = request;
  const stages: [Stage, GenerateOptions][] = [
    ["text", request],
    ["depth", fromPhoto],
    ["control", request],
    ["image", request],
    ["denoise", request],
    ["decode", request],
  ];

  for (const [stage, given] of stages)
    for (const milliseconds of [0, 3, 15])
      test(`an abort ${milliseconds} ms into the stage ${stage}`, async () => {
        const baseline = inMemory();
        using flux = await load();
        const controller = new AbortController();
        const reason = new Error("enough");
        const run = async (): Promise<void> => {
          for await (const event of flux.steps({ ...given, signal: controller.signal }))
            if (event.type === "stage" && event.stage === stage && event.state === "start")
              setTimeout(() => controller.abort(reason), milliseconds);
        };
        await assert.rejects(run(), (error) => error === reason);
        assert.deepEqual(inMemory(), baseline);
        assert.equal(digest(await flux.generate(small)), await expectedDigest());
      });

  let expected: Promise<string> | undefined;
  /** What {@link small} gives. */
  function expectedDigest(): Promise<string> {
    expected ??= load().then(async (flux) => digest(await flux.generate(small)));
    return expected;
  }

  test("an abort ends a step in its midst", async () => {
    using flux = await load({ memory: "resident" });
    const big = { ...small, width: 512, height: 512, steps: 1 };
    await flux.generate({ ...big, width: 64, height: 64 });
    const timeOf = async (signal?: AbortSignal, onDenoise = (): void => {}): Promise<number> => {
      let started = 0;
      for await (const event of flux.steps({ ...big, ...(signal && { signal }) })) {
        if (event.type === "stage" && event.stage === "denoise" && event.state === "start") {
          started = performance.now();
          onDenoise();
        }
        if (event.type === "step") return performance.now() - started;
      }
      return 0;
    };
    // The share of a step that an abort takes: the best of a few, as other work on the machine disturbs it.
    const shares: number[] = [];
    while (shares.length < 5 && !shares.some((share) => share < 0.5)) {
      const whole = await timeOf();
      const controller = new AbortController();
      let aborted = 0;
      await assert.rejects(
        timeOf(controller.signal, () =>
          setTimeout(() => {
            aborted = performance.now();
            controller.abort();
          }, whole / 5),
        ),
        { name: "AbortError" },
      );
      shares.push((performance.now() - aborted) / whole);
    }
    assert.ok(Math.min(...shares) < 0.5, `${shares}`);
  });

  test("leaving the loop frees everything and lets the next one in", async () => {
    const baseline = inMemory();
    using flux = await load();
    for await (const event of flux.steps(request)) if (event.type === "step") break;
    assert.deepEqual(inMemory(), baseline);
    assert.equal(digest(await flux.generate(small)), await expectedDigest());
  });

  test("disposal ends what runs and what waits", async () => {
    const baseline = inMemory();
    const flux = await load({ memory: "resident" });
    const running = flux.generate(request);
    const waiting = flux.generate(small);
    const both = Promise.allSettled([running, waiting]);
    await sleep(100);
    flux.dispose();
    for (const { status, reason } of (await both) as PromiseRejectedResult[]) {
      assert.equal(status, "rejected");
      assert.match(String(reason), /has been disposed/);
    }
    await assert.rejects(flux.generate(small), /has been disposed/);
    assert.deepEqual(inMemory(), baseline);
  });
});

describe("a damaged model", () => {
  let count = 0;
  /** A copy of the bundled model in which one file is a real copy and the others are links. */
  function copyModel(damaged: string): { folder: string; file: string } {
    const folder = join(scratch, `model-${count++}`);
    for (const entry of readdirSync(bundled, { recursive: true, withFileTypes: true })) {
      if (entry.isDirectory()) continue;
      const source = join(entry.parentPath, entry.name);
      const target = join(folder, relative(bundled, source));
      mkdirSync(dirname(target), { recursive: true });
      if (relative(bundled, source) === damaged) copyFileSync(source, target);
      else symlinkSync(source, target);
    }
    return { folder: realpathSync(folder), file: join(realpathSync(folder), damaged) };
  }

  /** Rewrites a safetensors file with other tensors. */
  async function rewrite(file: string, change: (arrays: Map<string, MxArray>) => void): Promise<void> {
    const { arrays } = loadSafetensors(file);
    const all = [...arrays.values()];
    change(arrays);
    await saveSafetensors(`${file}.new.safetensors`, arrays);
    for (const one of new Set([...all, ...arrays.values()])) one.dispose();
    copyFileSync(`${file}.new.safetensors`, file);
    rmSync(`${file}.new.safetensors`);
  }

  const weights = {
    text_encoder: "text_encoder/model.safetensors",
    text_encoder_2: "text_encoder_2/model.safetensors",
    vae: "vae/diffusion_pytorch_model.safetensors",
    transformer: "transformer/diffusion_pytorch_model.safetensors",
  };
  const some = {
    text_encoder: "text_model.encoder.layers.1.mlp.fc1.weight",
    text_encoder_2: "encoder.block.1.layer.1.DenseReluDense.wi_1.weight",
    vae: "decoder.up_blocks.2.resnets.1.conv1.weight",
    transformer: "single_transformer_blocks.3.attn.to_q.weight",
  };

  interface Damage {
    file: string;
    damage: (file: string) => void | Promise<void>;
    message: RegExp;
    /** What the error names, when it is not the file. */
    source?: string;
  }
  const cases: [name: string, damage: Damage][] = [];
  for (const part of ["text_encoder", "text_encoder_2", "vae", "transformer"] as const) {
    const file = weights[part];
    const tensor = some[part];
    const last = tensor
      .split(".")
      .at(-2)!
      .replaceAll(/_([a-z0-9])/g, (_, c: string) => c.toUpperCase());
    cases.push(
      [`${part}: weights missing`, { file, damage: rmSync, message: /there are no weights/, source: part }],
      [`${part}: config missing`, { file: `${part}/config.json`, damage: rmSync, message: /missing/ }],
      [
        `${part}: tensor missing`,
        {
          file,
          damage: (path) => rewrite(path, (arrays) => void arrays.delete(tensor)),
          message: new RegExp(`tensor ".*${last}\\.weight" is missing`),
        },
      ],
      [
        `${part}: tensor of another shape`,
        {
          file,
          damage: (path) => rewrite(path, (arrays) => void arrays.set(tensor, zeros([3, 5], "bfloat16"))),
          message: new RegExp(`tensor "${tensor.replace("text_model.", "(text_model.)?")}" is .*\\[3, 5\\]`),
        },
      ],
      [
        `${part}: tensor too many`,
        {
          file,
          damage: (path) => rewrite(path, (arrays) => void arrays.set("stray", zeros([2], "bfloat16"))),
          message: /tensor "stray" does not belong to this model/,
        },
      ],
      [
        `${part}: file cut off`,
        { file, damage: (path) => truncateSync(path, statSync(path).size - 1000), message: /truncated/ },
      ],
      [`${part}: file empty`, { file, damage: (path) => truncateSync(path, 0), message: /too few/ }],
      [
        `${part}: header that lies about its length`,
        {
          file,
          damage: (path) => {
            const bytes = readFileSync(path);
            bytes.writeBigUInt64LE(bytes.readBigUInt64LE() + 2n ** 40n);
            writeFileSync(path, bytes);
          },
          message: /header should have \d+ bytes, the file has/,
        },
      ],
    );
  }
  for (const file of [
    "scheduler/scheduler_config.json",
    "transformer/config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer_2/tokenizer.json",
  ])
    cases.push([`${file} missing`, { file, damage: rmSync, message: /missing|no such file/ }]);
  for (const file of ["scheduler/scheduler_config.json", "vae/config.json", "tokenizer_2/tokenizer.json"])
    cases.push([`${file} cut off`, { file, damage: (path) => truncateSync(path, 30), message: /JSON/ }]);

  for (const [part, text, message] of [
    [
      "text_encoder",
      '"hidden_size": 64',
      /pooled_projection_dim is 64, but text_encoder's hidden_size is 32/,
    ],
    ["text_encoder_2", '"d_model": 128', /joint_attention_dim is 128, but text_encoder_2's d_model is 64/],
  ] as const)
    cases.push([
      `${part}: of another model than the transformer`,
      {
        file: `${part}/config.json`,
        damage: (path) =>
          writeFileSync(
            path,
            readFileSync(path, "utf8").replace(
              text,
              text.replace(/\d+/, (n) => `${Number(n) / 2}`),
            ),
          ),
        message,
        source: "transformer/config.json",
      },
    ]);

  for (const [name, { file, damage, message, source }] of cases)
    test(name, async () => {
      const { folder, file: damaged } = copyModel(file);
      await damage(damaged);
      const baseline = inMemory();
      const run = async (): Promise<void> => {
        using flux = await load({ model: folder });
        await flux.generate({ ...small, width: 16, height: 16, steps: 1 });
      };
      await assert.rejects(run(), (error: unknown) => {
        assert.ok(error instanceof ModelError, `${(error as Error).stack}`);
        assert.match(error.message, message);
        assert.equal(error.source, source === undefined ? damaged : join(folder, source));
        return true;
      });
      assert.deepEqual(inMemory(), baseline);
    });
});
