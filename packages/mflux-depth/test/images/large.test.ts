import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import sharp from "sharp";
import { ImageError } from "../../src/errors.js";
import { readDepthMap, readPhoto } from "../../src/images/decode.js";
import { bin, smallImage } from "../support/command-line.js";
import type { ReaderReport } from "../support/image-reader-child.js";
import { at } from "../support/tensors.js";

const withoutProc = process.platform !== "linux" && "measures with /proc";

const folder = mkdtempSync(join(tmpdir(), "mflux-depth-large-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string): string => join(folder, name);

const stretched = (width: number, height: number) =>
  sharp(at("../../examples/images/astronaut.jpg")).resize(width, height, { fit: "fill", kernel: "nearest" });

/** Levels of grey that grow from black to white over the width, opaque if there are four channels. */
function ramp<Levels extends Uint8Array | Uint16Array | Float32Array>(
  make: new (length: number) => Levels,
  [width, height, channels]: readonly [number, number, number],
  white: number,
) {
  const row = Array.from({ length: width * channels }, (_, i) =>
    i % channels === 3 ? white : (Math.floor(i / channels) / (width - 1)) * white,
  );
  const data = new make(row.length * height);
  data.set(row);
  for (let filled = row.length; filled < data.length; filled *= 2) data.copyWithin(filled, 0, filled);
  return { data, width, height, channels: channels as 1 | 4 };
}

/** Runs the reader in a separate process. @returns its report, and the seconds until the process has ended. */
async function readInChild(...argv: string[]): Promise<ReaderReport & { seconds: number }> {
  const began = performance.now();
  const reader = at("dist/test/support/image-reader-child.js");
  const { stdout } = await promisify(execFile)(process.execPath, [reader, ...argv]);
  return { ...(JSON.parse(stdout) as ReaderReport), seconds: (performance.now() - began) / 1000 };
}

describe("images of 100 million pixels", { skip: withoutProc }, () => {
  before(async () => {
    await stretched(10_000, 10_000).jpeg({ quality: 30 }).toFile(file("photo.jpg"));
    await stretched(10_000, 10_000)
      .png({ compressionLevel: 1, progressive: true })
      .toFile(file("interlaced.png"));
    await stretched(8000, 8000).png({ compressionLevel: 0 }).toFile(file("uncompressed.png"));
    await stretched(4990, 5000)
      .ensureAlpha(0.5)
      .toColourspace("rgb16")
      .png({ compressionLevel: 1 })
      .toFile(file("wide.png"));
    const { data, ...raw } = ramp(Uint16Array, [20_000, 5000, 1], 65535);
    await sharp(data, { raw }).toColourspace("grey16").png({ compressionLevel: 0 }).toFile(file("map.png"));
  });

  // The largest first: what is left of one image adds to the next.
  const read = [
    ["interlaced.png", "photo", [3535, 3535], [10_000, 10_000]],
    ["photo.jpg", "photo", [3535, 3535], [10_000, 10_000]],
    ["map.png", "map", [7071, 1767], [20_000, 5000]],
    ["wide.png", "photo", [3531, 3539], [4990, 5000]],
  ] as const;

  /** All images, read one after another, for several tests. */
  let reading: Promise<ReaderReport> | undefined;
  const readAll = (): Promise<ReaderReport> => {
    reading ??= readInChild(...read.map(([name, kind]) => `${kind}:${file(name)}`));
    return reading;
  };

  for (const [i, [name, , size, original]] of read.entries())
    test(`${name} takes less than 600 MB in a process that has read others, and is kept smaller`, async () => {
      const image = (await readAll()).images[i]!;
      assert.ok(!("error" in image), JSON.stringify(image));
      assert.deepEqual([image.size, image.original], [size, original]);
      assert.ok(image.peak < 600e6, `${image.peak / 1e6} MB`);
    });

  test("bytes that are not compressed take less than 600 MB more, and are kept smaller", async () => {
    const [image] = (await readInChild(`photo-bytes:${file("uncompressed.png")}`)).images;
    assert.ok(image && !("error" in image), JSON.stringify(image));
    assert.deepEqual(
      [image.size, image.original],
      [
        [3535, 3535],
        [8000, 8000],
      ],
    );
    assert.ok(image.peak < 600e6, `${image.peak / 1e6} MB`);
  });

  test("of more bytes than are taken from memory are refused with the remedy", async () => {
    await assert.rejects(
      readPhoto(new Uint8Array(201e6)),
      /^ImageError: the photo: has 201\.0 MB; give the path of its file/,
    );
  });

  test("compute for less than a second at a time on the event loop", async () => {
    for (const image of (await readAll()).images) {
      assert.ok(!("error" in image), JSON.stringify(image));
      assert.ok(image.blocked < 1000, `${image.blocked} ms`);
    }
  });

  test("stop being decoded within a second of an abort", async () => {
    const { images, children, seconds } = await readInChild("abort:400", `photo:${file("interlaced.png")}`);
    const [outcome] = images;
    assert.ok(outcome && "error" in outcome, "was read");
    assert.equal(outcome.error, "stopped by the test");
    assert.ok(outcome.afterAbort < 1000, `${outcome.afterAbort} ms`);
    assert.equal(children, 0, "a decoder goes on");
    // Nothing that still decodes keeps the process from ending.
    assert.ok(seconds < 2.5, `${seconds} s`);
  });

  test("stop being decoded within a second of Ctrl-C", async () => {
    const child = spawn(
      process.execPath,
      [bin, ...smallImage, "--prompt", "a cube", "--depth-image-path", file("interlaced.png")],
      { cwd: folder, stdio: "ignore" },
    );
    let decoder: number | null = null;
    while (decoder === null) {
      assert.equal(child.exitCode, null, "ended before it decoded anything");
      await setTimeout(5);
      decoder = decoderOf(child.pid!);
    }
    await setTimeout(300);
    const began = performance.now();
    child.kill("SIGINT");
    const [code] = await once(child, "exit");
    const milliseconds = performance.now() - began;
    assert.equal(code, 130);
    assert.ok(milliseconds < 1000, `${milliseconds} ms`);
    await ended(decoder, 1000);
  });
});

/** Waits until a process has ended. @throws after `limit` milliseconds. */
async function ended(pid: number, limit: number): Promise<void> {
  for (const end = performance.now() + limit; performance.now() < end; await setTimeout(10))
    if (!isRunning(pid)) return;
  assert.fail(`process ${pid} is still running`);
}

/** An orphan that has ended stays a zombie until init collects it, which may take seconds in a container. */
function isRunning(pid: number): boolean {
  if (!existsSync(`/proc/${pid}`)) return false;
  return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}

/** The process that a process has started to decode an image; null if there is none. */
function decoderOf(parent: number): number | null {
  const running = readdirSync(`/proc/${parent}/task`).flatMap((task) =>
    readFileSync(`/proc/${parent}/task/${task}/children`, "utf8").split(" ").filter(Boolean),
  );
  const decoder = running.find((child) =>
    readFileSync(`/proc/${child}/cmdline`, "utf8").includes("decoder-host"),
  );
  return decoder === undefined ? null : Number(decoder);
}

describe("large images", () => {
  /** The largest distance of the values in the first row from a ramp over the width. */
  function offRamp({
    data,
    width,
    channels,
  }: {
    data: Float32Array;
    width: number;
    channels: number;
  }): number {
    let largest = 0;
    for (let x = 0; x < width; x++)
      largest = Math.max(largest, Math.abs(data[x * channels]! - (x + 0.5) / width));
    return largest;
  }

  test("in 16 bits keep their values within half a level of 8 bits when they are made smaller", async () => {
    const [width, height] = [8000, 3300];
    const { data, ...raw } = ramp(Uint16Array, [width, height, 1], 65535);
    const png = await sharp(data, { raw }).toColourspace("grey16").png({ compressionLevel: 0 }).toBuffer();
    const map = await readDepthMap(png);
    assert.deepEqual(map.original, { width, height });
    assert.ok(map.width * map.height <= 12.5e6 && map.width * map.height > 12.4e6);
    assert.ok(offRamp(map) < 0.5 / 255);
    assert.deepEqual(map.warnings, []);
  });

  for (const [kind, image, tolerance] of [
    ["floats with 1 channel", () => ramp(Float32Array, [8000, 3300, 1], 1), 0.001],
    ["bytes with 4 channels", () => ramp(Uint8Array, [8000, 3300, 4], 255), 1 / 255],
  ] as const)
    test(`in memory as ${kind} are made smaller by a whole factor`, async () => {
      const photo = await readPhoto(image());
      assert.deepEqual([photo.width, photo.height, photo.original.width], [4000, 1650, 8000]);
      assert.ok(offRamp(photo) < tolerance);
    });

  test("in memory end with the signal", async () => {
    const reason = new Error("stopped");
    const controller = new AbortController();
    const reading = readPhoto(
      { data: new Uint8Array(10_000 * 10_000), width: 10_000, height: 10_000, channels: 1 },
      { signal: controller.signal },
    );
    const began = performance.now();
    void setTimeout(20).then(() => controller.abort(reason));
    await assert.rejects(reading, reason);
    assert.ok(performance.now() - began < 1000);
  });

  test("of 25 million pixels keep every pixel", async () => {
    const [width, height, period] = [5000, 5000, 251];
    // Rows that repeat, so that filling and comparing them takes no longer than reading them.
    const row = (y: number): number[] =>
      Array.from({ length: width * 3 }, (_, i) => ((i + y) * 7919) % period);
    const data = new Uint8Array(width * height * 3);
    for (let y = 0; y < period; y++) data.set(row(y), y * width * 3);
    for (let filled = period * width * 3; filled < data.length; filled *= 2)
      data.copyWithin(filled, 0, filled);
    const png = await sharp(data, { raw: { width, height, channels: 3 } })
      .png({ compressionLevel: 0 })
      .toBuffer();
    const photo = await readPhoto(png);
    assert.deepEqual([photo.width, photo.height], [width, height]);
    const expected = Array.from({ length: period }, (_, y) =>
      Buffer.from(Float32Array.from(row(y), (level) => level / 255).buffer),
    );
    const { buffer, byteOffset } = photo.data;
    const bytes = width * 3 * 4;
    for (let y = 0; y < height; y++)
      assert.ok(expected[y % period]!.equals(Buffer.from(buffer, byteOffset + y * bytes, bytes)), `row ${y}`);
  });

  test("are refused when their format needs too much memory as a whole", async () => {
    const avif = await sharp({ create: { width: 60, height: 50, channels: 3, background: "red" } })
      .avif({ effort: 0 })
      .toBuffer();
    // Its size, which readers know before they decode it.
    const size = avif.indexOf("ispe") + 8;
    avif.writeUInt32BE(6000, size);
    avif.writeUInt32BE(5000, size + 4);
    await assert.rejects(readPhoto(avif), (error) => {
      assert.ok(error instanceof ImageError, String(error));
      assert.match(error.message, /^the photo: needs .* MB to be decoded.*save it as a JPEG or PNG/);
      return true;
    });
  });
});
