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

/** Runs the reader in a separate process. @returns its report, and the seconds until the process has ended. */
async function readInChild(...argv: string[]): Promise<ReaderReport & { seconds: number }> {
  const began = performance.now();
  const reader = at("dist/test/support/image-reader-child.js");
  const { stdout } = await promisify(execFile)(process.execPath, [reader, ...argv]);
  return { ...(JSON.parse(stdout) as ReaderReport), seconds: (performance.now() - began) / 1000 };
}

/** The report on one image, which several tests look at. */
const reports = new Map<string, Promise<ReaderReport>>();

function reportOn(image: string): Promise<ReaderReport> {
  const report = reports.get(image) ?? readInChild(image);
  reports.set(image, report);
  return report;
}

describe("images of 100 million pixels", { skip: withoutProc }, () => {
  before(async () => {
    await stretched(10_000, 10_000).jpeg({ quality: 80 }).toFile(file("photo.jpg"));
    await stretched(10_000, 10_000)
      .png({ compressionLevel: 1, progressive: true })
      .toFile(file("interlaced.png"));
    await stretched(8000, 8000).png({ compressionLevel: 0 }).toFile(file("uncompressed.png"));
    await stretched(4990, 5000)
      .ensureAlpha(0.5)
      .toColourspace("rgb16")
      .png({ compressionLevel: 1 })
      .toFile(file("wide.png"));
    await stretched(20_000, 5000)
      .toColourspace("grey16")
      .png({ compressionLevel: 1 })
      .toFile(file("map.png"));
  });

  for (const [name, kind, size, original] of [
    ["photo.jpg", "photo", [3535, 3535], [10_000, 10_000]],
    ["interlaced.png", "photo", [3535, 3535], [10_000, 10_000]],
    ["map.png", "map", [7071, 1767], [20_000, 5000]],
    ["wide.png", "photo", [3531, 3539], [4990, 5000]],
    ["uncompressed.png", "photo-bytes", [3535, 3535], [8000, 8000]],
  ] as const)
    test(`${name} takes less than 600 MB and is kept smaller`, async () => {
      const { peak, images } = await reportOn(`${kind}:${file(name)}`);
      assert.deepEqual(images, [{ size, original }]);
      assert.ok(peak < 600e6, `${peak / 1e6} MB`);
    });

  test("of more bytes than are taken from memory are refused with the remedy", async () => {
    await assert.rejects(
      readPhoto(new Uint8Array(201e6)),
      /^ImageError: the photo: has 201\.0 MB; give the path of its file/,
    );
  });

  test("take less than 600 MB one after another", async () => {
    const photo = `photo:${file("photo.jpg")}`;
    const { peak, images } = await readInChild(`map:${file("map.png")}`, photo, photo, photo);
    assert.equal(images.length, 4);
    assert.ok(peak < 600e6, `${peak / 1e6} MB`);
  });

  test("leave the event loop free", async () => {
    for (const image of [`map:${file("map.png")}`, `photo:${file("interlaced.png")}`]) {
      const { blocked } = await reportOn(image);
      assert.ok(blocked < 1000, `${blocked} ms`);
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
  /** Grey that grows from black to white over the width. A loop fills it ten times as fast as `from`. */
  function ramp(width: number, height: number, channels: number, white: number) {
    const data = new Float32Array(width * height * channels);
    const row = data.subarray(0, width * channels);
    for (let i = 0; i < row.length; i++) row[i] = (Math.floor(i / channels) / (width - 1)) * white;
    for (let y = 1; y < height; y++) data.copyWithin(y * row.length, 0, row.length);
    return { data, width, height, channels };
  }

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
    const { data } = ramp(width, height, 1, 65535);
    const png = await sharp(Uint16Array.from(data), { raw: { width, height, channels: 1 } })
      .toColourspace("grey16")
      .png({ compressionLevel: 1 })
      .toBuffer();
    const map = await readDepthMap(png);
    assert.deepEqual(map.original, { width, height });
    assert.ok(map.width * map.height <= 12.5e6 && map.width * map.height > 12.4e6);
    assert.ok(offRamp(map) < 0.5 / 255);
    assert.deepEqual(map.warnings, []);
  });

  for (const channels of [1, 4])
    test(`in memory with ${channels} channels are made smaller by a whole factor`, async () => {
      const [width, height] = [8000, 3300];
      const image = ramp(width, height, channels, 1);
      if (channels % 2 === 0)
        for (let i = channels - 1; i < image.data.length; i += channels) image.data[i] = 1;
      const photo = await readPhoto(image);
      assert.deepEqual([photo.width, photo.height, photo.original.width], [4000, 1650, width]);
      assert.ok(offRamp(photo) < 0.001);
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
    const [width, height] = [5000, 5000];
    const data = new Uint8Array(width * height * 3);
    for (let i = 0; i < data.length; i++) data[i] = (i * 7919) % 251;
    const png = await sharp(data, { raw: { width, height, channels: 3 } })
      .png({ compressionLevel: 0 })
      .toBuffer();
    const photo = await readPhoto(png);
    assert.deepEqual([photo.width, photo.height], [width, height]);
    let differing = 0;
    for (let i = 0; i < data.length; i++) if (photo.data[i] !== Math.fround(data[i]! / 255)) differing++;
    assert.equal(differing, 0);
  });

  test("are refused when their format needs too much memory as a whole", async () => {
    const avif = await sharp({ create: { width: 6000, height: 5000, channels: 3, background: "red" } })
      .avif({ effort: 0 })
      .toBuffer();
    await assert.rejects(readPhoto(avif), (error) => {
      assert.ok(error instanceof ImageError, String(error));
      assert.match(error.message, /^the photo: needs .* MB to be decoded.*save it as a JPEG or PNG/);
      return true;
    });
  });
});
