import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { array, loadSafetensors, type MxArray, memory, saveSafetensors, zeros } from "@mflux-depth/mlx";
import sharp from "sharp";
import {
  DepthEstimate,
  DepthEstimator,
  depthFormatOf,
  focalLengthOf,
  preprocess,
} from "../../src/depth/depth.js";
import {
  checkAdjustments,
  invertMap,
  normalizedMap,
  polarityWarning,
  toColours,
  toNpy,
} from "../../src/depth/map.js";
import { ImageError, ModelError, OptionError } from "../../src/errors.js";
import { type DecodedImage, readDepthMap, readPhoto } from "../../src/images/image.js";
import { bilinear, type Pixels, resize } from "../../src/images/resample.js";

const packageFile = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const tinyWorld = packageFile("models/tiny-world");
const bundled = join(tinyWorld, "depth_pro");
const example = (name: string): string => packageFile(`../../examples/images/${name}`);
const photos: string[] = JSON.parse(readFileSync(packageFile("test/golden/index.json"), "utf8")).photos;

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-test-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const largestDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  assert.equal(a.length, b.length);
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
};

/** One channel by a function of the position. */
function drawn(width: number, height: number, value: (x: number, y: number) => number): Pixels {
  const data = Float32Array.from({ length: width * height }, (_, i) =>
    value(i % width, Math.floor(i / width)),
  );
  return { data, width, height, channels: 1 };
}

const half = { mean: [127.5, 127.5, 127.5], deviation: [127.5, 127.5, 127.5] };

describe("the model's input", () => {
  const golden = loadSafetensors(packageFile("test/golden/depth_pro.safetensors")).arrays;

  for (const [i, name] of photos.entries())
    test(`${name} is what transformers makes of it, within 1e-5`, async () => {
      const photo = await readPhoto(example(name));
      const [, , side] = golden.get(`pixels_${i}`)!.shape as [number, number, number, number];
      const found = preprocess(photo, { side, ...half });
      const expected = golden.get(`pixels_${i}`)!.toTypedArray() as Float32Array;
      // The golden has its channels first.
      const channelsFirst = expected.map((_, at) => {
        const [c, pixel] = [Math.floor(at / side ** 2), at % side ** 2];
        return found[3 * pixel + c]!;
      });
      assert.ok(largestDifference(channelsFirst, expected) < 1e-5);
    });
});

describe("an estimate of the bundled model", () => {
  let estimator: DepthEstimator;
  before(() => {
    estimator = DepthEstimator.open({ depthModel: "tiny-world" });
  });
  after(() => estimator.free());

  for (const [i, name] of photos.entries())
    test(`the map of ${name} is the reference's, within 2 of 255`, async () => {
      const estimate = await estimator.estimate(example(name));
      const expected = await readDepthMap(packageFile(`test/golden/depth_${i}.png`));
      assert.deepEqual([estimate.width, estimate.height], [expected.width, expected.height]);
      const map = estimate.map().data.map((value) => value * 255);
      assert.ok(largestDifference(map, expected.data) < 2);
      const file = await estimate.encode({ format: "png" });
      assert.equal((await sharp(file).metadata()).channels, 1);
      assert.ok(largestDifference((await readDepthMap(file)).data, expected.data) <= 2);
    });

  test("the same photo again costs nothing, another one replaces it", async () => {
    const photo = await readPhoto(example("cube.png"));
    const first = await estimator.estimate(photo);
    let told = 0;
    assert.equal(await estimator.estimate(photo, { onProgress: (done) => (told = done) }), first);
    assert.equal(told, 1);
    const other = await estimator.estimate({
      data: photo.data.map((v) => v / 510),
      width: photo.width,
      height: photo.height,
      channels: 3,
    });
    assert.notEqual(other, first);
    assert.ok(largestDifference(other.data, first.data) > 0);
  });

  test("weights are read by the first estimate, and released by free", async () => {
    const loads: string[] = [];
    using own = DepthEstimator.open({
      depthModel: bundled,
      onLoad: ({ state }) => void (state !== "read" && loads.push(state)),
    });
    assert.deepEqual(loads, []);
    const before = memory.liveHandles();
    await own.estimate(example("room.png"));
    assert.deepEqual(loads, ["start", "end"]);
    assert.ok(memory.liveHandles() > before);
    own.free();
    assert.equal(memory.liveHandles(), before);
  });

  test("cancelling rejects with the signal's reason", async () => {
    const controller = new AbortController();
    const running = estimator.estimate(example("mountains.png"), {
      signal: controller.signal,
      onProgress: () => controller.abort(new Error("enough")),
    });
    await assert.rejects(running, /^Error: enough$/);
  });

  test("the map for a generation is resized once, from the model's own output", async () => {
    const estimate = await estimator.estimate(example("coffee.jpg"));
    const map = estimate.conditioningMap(96, 64);
    const { min, max } = estimate.range;
    const scaled = estimate.prediction.data.map((value) => ((value - min) / (max - min)) * 255);
    const expected = resize({ ...estimate.prediction, data: scaled }, 96, 64, bilinear);
    assert.ok(largestDifference(map.data, expected.data) < 1e-3);
    const viaPhoto = resize(
      { data: estimate.data, width: estimate.width, height: estimate.height, channels: 1 },
      96,
      64,
      bilinear,
    );
    const twice = viaPhoto.data.map((value) => ((value - min) / (max - min)) * 255);
    assert.ok(largestDifference(map.data, twice) > 0.05, "resizing twice is not the same");
  });

  test("a photo of ten pixels is refused", async () => {
    const tiny = { data: new Uint8Array(30), width: 5, height: 2, channels: 3 };
    await assert.rejects(estimator.estimate(tiny), ImageError);
  });
});

// ---------------------------------------------------------------- camera

/** A copy of the bundled model with a field-of-view head: the image encoder's weights again, and small numbers. */
async function modelWithFov(): Promise<string> {
  const target = join(folder, "with-fov");
  cpSync(bundled, target, { recursive: true });
  const config = JSON.parse(readFileSync(join(bundled, "config.json"), "utf8"));
  writeFileSync(join(target, "config.json"), JSON.stringify({ ...config, use_fov_model: true }));
  const { arrays } = loadSafetensors(join(bundled, "model.safetensors"));
  const encoder = "depth_pro.encoder.image_encoder.";
  for (const [key, tensor] of [...arrays])
    if (key.startsWith(encoder)) arrays.set(`fov_model.fov_encoder.${key.slice(encoder.length)}`, tensor);
  const add = (name: string, shape: number[], bias: number): void => {
    const count = shape.reduce((a, b) => a * b);
    const weight: MxArray = array(
      Float32Array.from({ length: count }, (_, i) => 0.05 * Math.cos(i)),
      { shape },
    );
    arrays.set(`fov_model.${name}.weight`, weight);
    arrays.set(`fov_model.${name}.bias`, array(new Float32Array(shape[0]!).fill(bias)));
  };
  add("fov_encoder.neck", [8, 64], 0);
  add("conv", [8, 16, 3, 3], 0.1);
  add("head.layers.0", [4, 8, 3, 3], 0.1);
  add("head.layers.2", [2, 4, 3, 3], 0.1);
  add("head.layers.4", [1, 2, 2, 2], 60);
  await saveSafetensors(join(target, "model.safetensors"), arrays);
  return target;
}

type ExifTags = Record<number, number | readonly [numerator: number, denominator: number]>;

/** An EXIF block with numbers (SHORT) and fractions (RATIONAL) in its photo part. */
function exifBlock(tags: ExifTags): Uint8Array {
  const entries = Object.entries(tags).sort(([a], [b]) => Number(a) - Number(b));
  // A header of 8, a directory of one entry at 8 (18 bytes), the photo's directory at 26, then the fractions.
  const fractions = 26 + 2 + 12 * entries.length + 4;
  const bytes = Buffer.alloc(fractions + 8 * entries.length);
  bytes.write("II*\0", "latin1");
  bytes.writeUInt32LE(8, 4);
  bytes.writeUInt16LE(1, 8);
  bytes.writeUInt16LE(0x8769, 10);
  bytes.writeUInt16LE(4, 12);
  bytes.writeUInt32LE(1, 14);
  bytes.writeUInt32LE(26, 18);
  bytes.writeUInt16LE(entries.length, 26);
  for (const [i, [tag, value]] of entries.entries()) {
    const entry = 28 + 12 * i;
    bytes.writeUInt16LE(Number(tag), entry);
    bytes.writeUInt16LE(typeof value === "number" ? 3 : 5, entry + 2);
    bytes.writeUInt32LE(1, entry + 4);
    if (typeof value === "number") bytes.writeUInt16LE(value, entry + 8);
    else {
      bytes.writeUInt32LE(fractions + 8 * i, entry + 8);
      bytes.writeUInt32LE(value[0], fractions + 8 * i);
      bytes.writeUInt32LE(value[1], fractions + 8 * i + 4);
    }
  }
  return bytes;
}

describe("the camera", () => {
  const tag = { lens: 0x920a, onFilm: 0xa405, density: 0xa20e, unit: 0xa210, width: 0xa002, height: 0xa003 };
  const photo = (tags: ExifTags | Uint8Array | undefined): DecodedImage => ({
    ...drawn(640, 480, () => 0),
    source: "a photo",
    sha256: "",
    warnings: [],
    ...(tags && { exif: tags instanceof Uint8Array ? tags : exifBlock(tags) }),
  });

  test("EXIF's length on film gives the focal length in pixels", async () => {
    const expected = (28 * 800) / Math.hypot(36, 24);
    assert.ok(Math.abs(focalLengthOf(photo({ [tag.onFilm]: 28, [tag.lens]: [5, 1] }))! - expected) < 1e-9);
    // A file as cameras write it.
    const file = sharp(example("cube.png"))
      .withExif({ IFD2: { FocalLengthIn35mmFilm: "28" } })
      .jpeg();
    const read = focalLengthOf(await readPhoto(await file.toBuffer()));
    assert.ok(Math.abs(read! - (28 * Math.hypot(256, 256)) / Math.hypot(36, 24)) < 1e-9);
  });

  test("so do the lens and the density of the sensor, for a picture made smaller since", () => {
    const sensor = {
      [tag.lens]: [50, 1],
      [tag.density]: [4000, 2],
      [tag.width]: 4096,
      [tag.height]: 3072,
    } as const;
    const pixels = (50 * 2000 * 640) / 4096;
    assert.ok(Math.abs(focalLengthOf(photo({ ...sensor, [tag.unit]: 3 }))! - pixels / 10) < 1e-9);
    assert.ok(Math.abs(focalLengthOf(photo({ ...sensor, [tag.unit]: 2 }))! - pixels / 25.4) < 1e-9);
    const turned = { ...sensor, [tag.unit]: 3, [tag.width]: 3072, [tag.height]: 4096 };
    assert.ok(Math.abs(focalLengthOf(photo(turned))! - pixels / 10) < 1e-9);
  });

  test("a lens alone, a zero, no EXIF or a damaged block say nothing", () => {
    for (const tags of [
      { [tag.lens]: [50, 1] as const },
      { [tag.onFilm]: 0 },
      undefined,
      new Uint8Array([1, 2]),
    ])
      assert.equal(focalLengthOf(photo(tags)), undefined);
  });

  test("without EXIF the model's field of view counts, with it EXIF; metres follow", async () => {
    using estimator = DepthEstimator.open({ depthModel: await modelWithFov() });
    const bare = await readPhoto(example("cube.png"));
    const seen = await estimator.estimate(bare);
    assert.ok(seen.fieldOfView! > 50 && seen.fieldOfView! < 70, `${seen.fieldOfView} degrees`);
    assert.equal(seen.focalLengthFrom, "model");
    const expected = 128 / Math.tan((seen.fieldOfView! * Math.PI) / 360);
    assert.ok(Math.abs(seen.focalLength! - expected) < 1e-6);
    const metres = seen.metres!;
    for (const i of [0, 1000, 40_000]) {
      const one = 1 / Math.min(Math.max((seen.data[i]! * 256) / seen.focalLength!, 1e-4), 1e4);
      assert.ok(Math.abs(metres[i]! / one - 1) < 1e-6);
    }

    const told = await estimator.estimate({
      ...bare,
      sha256: "another",
      exif: exifBlock({ [tag.onFilm]: 28 }),
    });
    assert.equal(told.focalLengthFrom, "exif");
    assert.ok(Math.abs(told.focalLength! - (28 * Math.hypot(256, 256)) / Math.hypot(36, 24)) < 1e-9);
  });

  test("the head is left out where no field of view is asked for, and read when it is", async () => {
    const loads: string[] = [];
    using estimator = DepthEstimator.open({
      depthModel: await modelWithFov(),
      onLoad: ({ state }) => void (state !== "read" && loads.push(state)),
    });
    const photo = await readPhoto(example("shapes.png"));
    const blind = await estimator.estimate(photo, { fieldOfView: false });
    assert.equal(blind.fieldOfView, undefined);
    assert.equal(blind.metres, undefined);
    assert.equal(loads.length, 2);
    const seen = await estimator.estimate(photo);
    assert.ok(seen.fieldOfView !== undefined);
    assert.equal(loads.length, 4);
    assert.ok(largestDifference(seen.data, blind.data) < 1e-6);
    assert.equal(await estimator.estimate(photo, { fieldOfView: false }), seen);
  });

  test("distances are limited to what the reference gives", () => {
    const prediction = drawn(2, 1, (x) => (x === 0 ? 0 : 1e9));
    const photo = { source: "a photo", width: 2, height: 1 };
    const estimate = new DepthEstimate(photo, prediction, { fieldOfView: 90, exifFocalLength: undefined });
    assert.ok(Math.abs(estimate.focalLength! - 1) < 1e-9);
    assert.deepEqual([...estimate.metres!], [Math.fround(1e4), Math.fround(1e-4)]);
  });
});

// ---------------------------------------------------------------- maps

describe("adjustments", () => {
  const ramp = drawn(11, 1, (x) => 3 + 2 * x);
  const row = (adjustments = {}): number[] => [...normalizedMap(ramp, 11, 1, "ramp", adjustments).data];
  const near = (found: number[], expected: number[]): void =>
    assert.ok(largestDifference(found, expected) < 1e-6);

  test("the smallest is 0, the largest 1", () => {
    near(row(), [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]);
  });
  test("percentiles take the range between neighbours, and clamp", () => {
    near(
      row({ far: 15, near: 80 }),
      row().map((v) => Math.min(Math.max((v - 0.15) / 0.65, 0), 1)),
    );
  });
  test("gamma and invert", () => {
    near(row({ gamma: 2 }), row().map(Math.sqrt));
    near(
      row({ invert: true, gamma: 0.5 }),
      row().map((v) => 1 - v ** 2),
    );
  });
  test("what cannot be is refused", () => {
    for (const wrong of [
      { near: 101 },
      { far: -1 },
      { near: 20, far: 20 },
      { gamma: 0 },
      { near: Number.NaN },
    ])
      assert.throws(() => checkAdjustments(wrong), OptionError);
  });
  test("a constant map is an error that names the photo", () => {
    const flat = drawn(4, 4, () => 2);
    assert.throws(
      () => normalizedMap(flat, 4, 4, "fog.jpg"),
      (error) => error instanceof ImageError && /^fog\.jpg: the same depth/.test(error.message),
    );
    const nearlyFlat = drawn(10, 10, (x, y) => (x + y === 0 ? 1 : 0));
    assert.throws(() => normalizedMap(nearlyFlat, 4, 4, "fog.jpg", { near: 90 }), /percentiles 0 and 90/);
  });
});

describe("polarity", () => {
  const maps = ["portrait", "sculpture", "cube", "shapes", "mountains"];
  for (const name of maps)
    test(`the map of ${name} is right, its inverse is noticed`, async () => {
      const map = await readDepthMap(example(`${name}_depth.png`));
      assert.equal(polarityWarning(map, "map.png"), null);
      assert.match(
        polarityWarning(invertMap(map), "map.png")!.message,
        /^map\.png .*far seems to be white.*set invertDepth/,
      );
    });

  test("with the depth of the photo at hand, the two are compared", async () => {
    // A room comes nearer towards its borders: only the photo can tell.
    const map = await readDepthMap(example("room_depth.png"));
    const inferred = drawn(40, 30, (x, y) => Math.max(Math.abs(x - 20) / 20, Math.abs(y - 15) / 15));
    assert.equal(polarityWarning(map, "map.png", { inferred }), null);
    const inverted = invertMap(map);
    const warning = polarityWarning(inverted, "map.png", { inferred });
    assert.match(warning!.message, /against the depth of the photo/);
    assert.deepEqual(warning!.remedies, [{ kind: "set-option", option: "invertDepth", value: true }]);
    const exchanged = polarityWarning(inverted, "map.png", { inferred, exchanged: true });
    assert.deepEqual(exchanged!.remedies, [{ kind: "omit-option", option: "invertDepth" }]);
  });

  test("inverting twice gives the map back", () => {
    const map = drawn(5, 4, (x, y) => 10 + x * y);
    assert.deepEqual(invertMap(map).data[0], 22);
    assert.deepEqual(invertMap(invertMap(map)), map);
  });
});

describe("files", () => {
  const prediction = drawn(40, 20, (x, y) => Math.hypot(x - 11, y - 7));
  const photo = { source: "a photo", width: 24, height: 18 };
  const estimate = new DepthEstimate(photo, prediction, { fieldOfView: undefined, exifFocalLength: 30 });

  test("16 bits hold the map to half a level", async () => {
    const bytes = await estimate.encode({ format: "png", bits: 16 });
    const info = await sharp(bytes).metadata();
    assert.deepEqual([info.depth, info.channels, info.width, info.height], ["ushort", 1, 24, 18]);
    const map = await readDepthMap(bytes);
    assert.ok(
      largestDifference(
        map.data.map((v) => (v / 255) * 65535),
        estimate.map().data.map((v) => v * 65535),
      ) < 0.51,
    );
  });

  test("an array is NumPy's format, in inverse depth or metres", async () => {
    for (const metres of [false, true]) {
      const path = await estimate.save(join(folder, `array-${metres}.npy`), { metres });
      const bytes = readFileSync(path);
      assert.equal(bytes.toString("latin1", 0, 8), "\x93NUMPY\x01\x00");
      const start = 10 + bytes.readUInt16LE(8);
      assert.equal(start % 64, 0);
      assert.match(
        bytes.toString("latin1", 10, start),
        /^\{'descr': '<f4', 'fortran_order': False, 'shape': \(18, 24\), \} *\n$/,
      );
      const values = Float32Array.from({ length: 432 }, (_, i) => bytes.readFloatLE(start + 4 * i));
      assert.equal(bytes.length, start + 4 * 432);
      assert.deepEqual(values, metres ? estimate.metres : estimate.data);
    }
    assert.equal(toNpy(new Float32Array(6), 3, 2).length % 64, 24);
  });

  test("colours rise evenly in lightness from far to near", async () => {
    const steps = 33;
    const rgb = toColours(drawn(steps, 1, (x) => x / (steps - 1)));
    // Lightness by the CIE's formula, which is not the one that the colours were chosen by.
    const lightness = Array.from({ length: steps }, (_, i) => {
      const [r, g, b] = [0, 1, 2].map((c) => {
        const v = rgb[3 * i + c]! / 255;
        return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
      });
      return 116 * Math.cbrt(0.2126 * r! + 0.7152 * g! + 0.0722 * b!) - 16;
    });
    const rises = lightness.slice(1).map((l, i) => l - lightness[i]!);
    assert.ok(lightness[0]! < 15 && lightness.at(-1)! > 85, `${lightness[0]} to ${lightness.at(-1)}`);
    assert.ok(Math.min(...rises) > 0.5 * Math.max(...rises), `${rises.map((r) => r.toFixed(2))}`);
    const file = await sharp(await estimate.encode({ format: "webp", colour: true })).metadata();
    assert.deepEqual([file.format, file.channels, file.width], ["webp", 3, 24]);
  });

  test("options that a format does not have are refused", async () => {
    const wrong = [
      { format: "jpeg", bits: 16 },
      { format: "png", bits: 16, colour: true },
      { format: "png", metres: true },
      { format: "npy", colour: true },
      { format: "npy", invert: true },
      { format: "png", near: 10, far: 20 },
    ] as const;
    for (const options of wrong) await assert.rejects(estimate.encode(options), OptionError);
    assert.throws(() => depthFormatOf("depth.exr"), OptionError);
    const blind = new DepthEstimate(photo, prediction, {
      fieldOfView: undefined,
      exifFocalLength: undefined,
    });
    await assert.rejects(blind.encode({ format: "npy", metres: true }), /not known/);
  });
});

// ---------------------------------------------------------------- models that are none

describe("opening", () => {
  const made = (name: string, files: Record<string, string>): string => {
    const path = join(folder, name);
    mkdirSync(path, { recursive: true });
    for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
    return path;
  };
  const config = readFileSync(join(bundled, "config.json"), "utf8");
  const refused: [string, () => string, RegExp][] = [
    ["a folder without weights", () => made("empty", { "config.json": config }), /there are no weights/],
    ["pickled weights", () => made("pickle", { "config.json": config, "pytorch_model.bin": "" }), /pickle/],
    ["a folder without a config", () => made("bare", {}), /no config\.json.*DepthPro-hf/],
    ["a FLUX repository", () => made("flux", { "model_index.json": "{}" }), /diffusion model.*DepthPro-hf/],
    ["a FLUX transformer", () => join(tinyWorld, "transformer"), /another kind of model/],
    ["a text encoder", () => join(tinyWorld, "text_encoder"), /"clip_text_model".*"depth_pro"/],
    ["a name that is none", () => "no such thing", /there is no such folder/],
    [
      "an input that is too small",
      () =>
        made("small", {
          "config.json": config,
          "preprocessor_config.json": '{"size": {"width": 64, "height": 64}}',
        }),
      /"size".*128 or more/,
    ],
  ];
  for (const [what, path, message] of refused)
    test(`refuses ${what}`, () => {
      assert.throws(
        () => DepthEstimator.open({ depthModel: path() }),
        (error: Error) => {
          assert.ok(error instanceof ModelError, error.stack);
          assert.match(error.message, message);
          return true;
        },
      );
    });

  test("a FLUX folder that brings Depth Pro is used, when no other is named", () => {
    assert.equal(DepthEstimator.open({ fluxFolder: tinyWorld }).folder, bundled);
    assert.equal(DepthEstimator.open({ depthModel: tinyWorld }).folder, bundled);
  });

  test("weights of another size are an error that names the tensor", async () => {
    const path = made("misfit", { "config.json": config });
    const { arrays } = loadSafetensors(join(bundled, "model.safetensors"));
    arrays.set("head.layers.4.weight", zeros([2, 32, 1, 1]));
    await saveSafetensors(join(path, "model.safetensors"), arrays);
    using estimator = DepthEstimator.open({ depthModel: path });
    await assert.rejects(estimator.estimate(example("cube.png")), (error: Error) => {
      assert.ok(error instanceof ModelError);
      assert.match(error.message, /head\.layers\.4\.weight/);
      return true;
    });
  });
});
