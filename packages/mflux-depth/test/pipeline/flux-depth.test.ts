import assert from "node:assert/strict";
import { sep } from "node:path";
import { after, before, describe, test } from "node:test";
import { OptionError } from "../../src/errors.js";
import { readPhoto } from "../../src/images/decode.js";
import { toModelInput } from "../../src/images/model-input.js";
import type {
  FluxDepth,
  FluxDepthOptions,
  GenerateOptions,
  GenerationResult,
  StepEvent,
} from "../../src/index.js";
import { patchPacking, toChannelsFirst } from "../../src/sampling/latents.js";
import { relativeError } from "../support/tensors.js";
import {
  bundled,
  collect,
  digest,
  exampleImage,
  inMemory,
  loadTinyWorld,
  logLoads,
  meanDifference,
  smallRequest,
} from "../support/tiny-world.js";

const portrait = exampleImage("portrait.png");

describe("a generation", () => {
  const log: string[] = [];
  let loadsBefore = 0;
  let result: GenerationResult;
  before(async () => {
    using flux = await loadTinyWorld(logLoads(log));
    loadsBefore = log.length;
    const request = { ...smallRequest, image: portrait, imageStrength: 0.5, trustDepth: true };
    for await (const event of flux.steps(request)) {
      if (event.type === "stage") log.push(`${event.stage} ${event.state}`);
      if (event.type === "step")
        log.push(`step ${event.index}/${event.total} from ${event.sigma.toFixed(2)}`);
      if (event.type === "result") result = event.result;
    }
  });

  test("reads no weights before it starts", () => {
    assert.equal(loadsBefore, 0);
  });

  test("reports stages and steps in order, and reads weights in the stage that needs them", () => {
    assert.deepEqual(log, [
      ...["text start", "text_encoder", "text_encoder_2", "text end"],
      ...["control start", "vae", "control end"],
      ...["image start", "image end"],
      ...["denoise start", "transformer", "step 1/1 from 0.61", "denoise end"],
      ...["decode start", "vae", "decode end"],
    ]);
  });

  test("measures each stage, and separately the reading of weights", () => {
    const { load, ...stages } = result.timings;
    assert.deepEqual(Object.keys(stages), ["text", "control", "image", "denoise", "decode"]);
    assert.ok(load! > 0 && Object.values(stages).every((seconds) => seconds > 0));
    assert.deepEqual(result.metadata.stage_seconds, stages);
  });
});

describe("loading progress", () => {
  test("tells the size of each component, and the seconds at its end", async () => {
    const started = new Set<string>();
    let ended = 0;
    using flux = await loadTinyWorld({
      onProgress(progress) {
        assert.ok(progress.state !== "download" && progress.bytes > 0);
        if (progress.state === "start") started.add(progress.component);
        assert.ok(started.has(progress.component));
        assert.equal(progress.seconds! > 0, progress.state === "end");
        if (progress.state === "end") ended++;
      },
    });
    await flux.generate({ ...smallRequest, steps: 1 });
    // The VAE is read for the control latents, and again for decoding.
    assert.deepEqual([started.size, ended], [4, 5]);
  });
});

describe("the memory policy", () => {
  let inLow: GenerationResult;
  before(async () => {
    using flux = await loadTinyWorld();
    inLow = await flux.generate(smallRequest);
  });

  test("low keeps nothing after a generation", async () => {
    const baseline = inMemory();
    const flux = await loadTinyWorld();
    await flux.generate(smallRequest);
    assert.deepEqual(inMemory(), baseline);
  });

  describe("resident", () => {
    const baseline = inMemory();
    const log: string[] = [];
    let flux: FluxDepth;
    let first: GenerationResult;
    let held: ReturnType<typeof inMemory>;
    before(async () => {
      flux = await loadTinyWorld({ ...logLoads(log), memory: "resident" });
      first = await flux.generate(smallRequest);
      held = inMemory();
    });

    test("keeps all components", () => {
      assert.deepEqual(log, ["text_encoder", "text_encoder_2", "vae", "transformer"]);
      assert.ok(held[0] > baseline[0] + 9e6 * 2);
    });

    test("gives the same image as low", () => {
      assert.equal(digest(first), digest(inLow));
    });

    test("gives the same image again", async () => {
      assert.equal(digest(await flux.generate(smallRequest)), digest(first));
    });

    test("gives another image for another seed", async () => {
      assert.notEqual(digest(await flux.generate({ ...smallRequest, seed: 8 })), digest(first));
    });

    test("gives another image for another prompt", async () => {
      const other = { ...smallRequest, prompt: "mountains covered in snow, at night" };
      assert.notEqual(digest(await flux.generate(other)), digest(first));
    });

    test("reads no weights again, and its memory does not grow", () => {
      assert.equal(log.length, 4);
      assert.deepEqual(inMemory(), held);
    });

    test("frees everything when it is disposed", () => {
      flux.dispose();
      assert.deepEqual(inMemory(), baseline);
    });
  });
});

describe("the depth estimator", () => {
  const log: string[] = [];
  const { depthImage: _, ...withoutMap } = smallRequest;
  const fromPhoto = { ...withoutMap, image: portrait };
  let flux: FluxDepth;
  before(async () => {
    flux = await loadTinyWorld({ ...logLoads(log), memory: "resident" });
    await flux.generate({ ...smallRequest, image: portrait, imageStrength: 0 });
  });
  after(() => flux.dispose());

  test("is not read for a request with a depth map", () => {
    assert.ok(!log.includes("depth_pro"));
  });

  test("is read once for several seeds of a photo", async () => {
    log.length = 0;
    const first = await flux.generate(fromPhoto);
    const second = await flux.generate({ ...fromPhoto, seed: 8 });
    assert.deepEqual(log, ["depth_pro"]);
    assert.deepEqual(first.depthMap, second.depthMap);
    assert.notDeepEqual(first.image, second.image);
  });

  test("makes the map that estimateDepth makes", async () => {
    const { depthMap, metadata } = await flux.generate(fromPhoto);
    const estimate = await flux.estimateDepth(portrait);
    assert.ok(relativeError(depthMap.data, estimate.map(32, 48).data) < 1e-6);
    assert.equal(metadata.depth_source, "photo");
  });
});

describe("the seed", () => {
  let flux: FluxDepth;
  let drawn: GenerationResult;
  let seed: number;
  before(async () => {
    flux = await loadTinyWorld();
    drawn = await flux.generate({ ...smallRequest, seed: 0 });
    seed = drawn.seed!;
  });

  test("is drawn for 0 and reported", () => {
    assert.ok(seed > 0);
  });

  test("that was drawn gives the same image again", async () => {
    assert.equal(digest(await flux.generate({ ...smallRequest, seed })), digest(drawn));
  });

  test("is null if the request contains its own noise", async () => {
    const grid = { rows: 3, columns: 2, channels: 16 };
    using noise = patchPacking.noise(seed, grid);
    using unpacked = patchPacking.unpack(noise, grid);
    using channelsFirst = toChannelsFirst(unpacked);
    const latents = channelsFirst.toTypedArray() as Float32Array;
    for (const one of [latents, { data: latents, shape: channelsFirst.shape }]) {
      const given = await flux.generate({ ...smallRequest, latents: one });
      assert.equal(given.seed, null);
      assert.equal(digest(given), digest(drawn));
    }
  });
});

describe("previews", () => {
  let steps: StepEvent[];
  let result: GenerationResult;
  before(async () => {
    using flux = await loadTinyWorld();
    const request = { ...smallRequest, width: 128, height: 128, steps: 8, previewEvery: 2 };
    ({ steps, result } = await collect(flux.steps(request)));
  });

  test("come every few steps, except with the last step", () => {
    const withPreview = steps.filter(({ preview }) => preview).map(({ index }) => index);
    assert.deepEqual(withPreview, [2, 4, 6]);
  });

  test("approach the image", () => {
    const distances = steps.flatMap(({ preview }) =>
      preview ? [meanDifference(preview, result.image)] : [],
    );
    assert.ok(distances[0]! > distances[1]! && distances[1]! > distances[2]!, `${distances}`);
    assert.ok(distances[2]! < 6, `${distances}`);
  });
});

describe("starting from a photo", () => {
  test("at strength 1 decodes the encoded photo without any step", async () => {
    const log: string[] = [];
    using flux = await loadTinyWorld(logLoads(log));
    let steps = 0;
    const result = await flux.generate({
      ...smallRequest,
      image: portrait,
      imageStrength: 1,
      trustDepth: true,
      width: 256,
      height: 256,
      onStep: () => steps++,
    });
    assert.equal(steps, 0);
    const photo = await toModelInput(await readPhoto(portrait), 256, 256);
    const data = Uint8Array.from(photo, (x) => Math.round((x / 2 + 0.5) * 255));
    assert.ok(meanDifference(result.image, { data, width: 256, height: 256 }) < 6);
    // Neither the text encoders nor the transformer.
    assert.deepEqual([...new Set(log)], ["vae"]);
  });
});

describe("warnings", () => {
  let result: GenerationResult;
  before(async () => {
    using flux = await loadTinyWorld();
    const tail = "and a lot more of the same ".repeat(12).trim();
    result = await flux.generate({
      ...smallRequest,
      prompt: `a gold portrait ${tail}`,
      width: 70,
      steps: 1,
    });
  });
  const assertWarned = (message: RegExp): void =>
    assert.ok(result.warnings.some((warning) => message.test(warning)));

  test("tell that a size was reduced to a multiple of 16", () => {
    assert.equal(result.image.width, 64);
    assertWarned(/width 70/);
  });

  test("tell what T5 does not read of a long prompt", () => {
    assertWarned(
      /T5 reads only the first 64 tokens of the prompt and ignores "[^"]{60}…" \(\d+ characters\)\.$/,
    );
  });

  test("tell what CLIP does not read of a long prompt", () => {
    assertWarned(
      /CLIP reads only the first 77 tokens of the prompt and ignores "[^"]{60}…" \(\d+ characters\)\.$/,
    );
  });
});

describe("a prompt that is a little too long", () => {
  test("is quoted from where it is cut", async () => {
    using flux = await loadTinyWorld();
    const { warnings } = await flux.generate({
      ...smallRequest,
      steps: 1,
      maxSequenceLength: 4,
      prompt: "a a a gold portrait",
    });
    assert.deepEqual(warnings, [
      'T5 reads only the first 4 tokens of the prompt and ignores "gold portrait".',
    ]);
  });

  test("is quoted in one line", async () => {
    using flux = await loadTinyWorld();
    const { warnings } = await flux.generate({
      ...smallRequest,
      steps: 1,
      maxSequenceLength: 1,
      prompt: "a gold\nportrait",
    });
    assert.deepEqual(warnings, [
      'T5 reads only the first token of the prompt and ignores "a gold\\nportrait".',
    ]);
  });
});

describe("the parameters of an image", () => {
  test("name files and folders without the folders above them", async () => {
    using flux = await loadTinyWorld({ model: bundled });
    const { metadata } = await flux.generate({
      ...smallRequest,
      image: portrait,
      depthImage: exampleImage("portrait_depth.png"),
      imageStrength: 1,
      trustDepth: true,
    });
    const { image_path, depth_image_path, model } = metadata;
    assert.deepEqual(
      [image_path, depth_image_path, model],
      ["portrait.png", "portrait_depth.png", "tiny-world"],
    );
    assert.doesNotMatch(JSON.stringify(metadata), new RegExp(`"[^"]*${sep === "/" ? "/" : "\\\\"}[^"]*"`));
  });
});

describe("FluxDepth refuses", () => {
  const refuse = async (request: object, option: string): Promise<void> => {
    using flux = await loadTinyWorld();
    await assert.rejects(
      flux.generate({ ...smallRequest, ...request } as GenerateOptions),
      (error) => error instanceof OptionError && error.option === option,
    );
  };

  test("latents of another size", () => refuse({ latents: new Float32Array(12) }, "latents"));

  test("latents of another shape with as many values", () =>
    refuse({ latents: { data: new Float32Array(16 * 6 * 4), shape: [1, 6, 4, 16] } }, "latents"));

  test("an option of requests that does not exist", () => refuse({ stepz: 3 }, "stepz"));

  test("a value outside its range", () => refuse({ steps: 0 }, "steps"));

  for (const given of [null, undefined, 5, "a cube", []])
    test(`${JSON.stringify(given)} as a request`, async () => {
      using flux = await loadTinyWorld();
      await assert.rejects(flux.generate(given as never), /^OptionError: Options must be an object, not /);
      await assert.rejects(
        flux.steps(given as never).next(),
        /^OptionError: Options must be an object, not /,
      );
    });

  for (const photo of [5, null, undefined, "", {}])
    test(`${JSON.stringify(photo)} as a photo to estimate`, async () => {
      using flux = await loadTinyWorld();
      await assert.rejects(
        flux.estimateDepth(photo as never),
        /^OptionError: photo must be a path, the bytes/,
      );
    });

  test("null as the options of an estimate", async () => {
    using flux = await loadTinyWorld();
    await assert.rejects(
      flux.estimateDepth("x.png", null as never),
      /^OptionError: Options must be an object/,
    );
  });

  test("an option of loading that does not exist", async () => {
    await assert.rejects(loadTinyWorld({ quantise: 4 } as FluxDepthOptions), OptionError);
  });
});
