import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { memory } from "@mflux-depth/mlx";
import { readConfig } from "../../src/files/json.js";
import { T5Encoder, t5Config } from "../../src/models/t5.js";
import { FluxDepth, type FluxDepthOptions } from "../../src/pipeline/flux-depth.js";
import { type CacheLimit, Component, type LoadProgress } from "../../src/weights/component.js";
import { writeLargeText } from "../support/holes.js";
import { at } from "../support/tensors.js";

/* Weights that take seconds to read: meanwhile everything else goes on, and an abort ends it. */

let folder: string;
before(() => {
  folder = mkdtempSync(join(tmpdir(), "mflux-depth-loading-"));
  writeLargeText(join(folder, "model"), 25);
});
after(() => rmSync(folder, { recursive: true, force: true }));

let progress: LoadProgress[] = [];
let onProgress: (event: LoadProgress) => void = () => {};
beforeEach(() => {
  progress = [];
  onProgress = () => {};
});

function textEncoder(cacheLimit?: CacheLimit): Component<T5Encoder> {
  const part = join(folder, "model", "text_encoder_2");
  const config = t5Config(readConfig(part, "config.json"));
  return new Component({
    folder: part,
    name: "text_encoder_2",
    build: () => new T5Encoder(config),
    rename: T5Encoder.sanitize,
    dtype: "float32",
    bits: 4,
    cacheLimit,
    onProgress: (event) => {
      progress.push(event);
      onProgress(event);
    },
  });
}

const inMemory = (): readonly number[] => {
  memory.clearCache();
  return [memory.activeMemory(), memory.liveHandles()];
};

/** Calls `action` when a quarter of the weights has been read. */
function atQuarter(action: () => void): void {
  let done = false;
  onProgress = ({ bytes, bytesDone }) => {
    if (done || bytesDone < bytes / 4) return;
    done = true;
    action();
  };
}

const starts = (): number => progress.filter(({ state }) => state === "start").length;

/** Of what was read at last, the share. */
const shareRead = (): number => {
  const { bytes, bytesDone } = progress.at(-1)!;
  return bytesDone / bytes;
};

describe("a component", () => {
  test("leaves the event loop free and tells how far it is", async () => {
    const part = textEncoder();
    let [ticks, longest, last] = [0, 0, performance.now()];
    const began = last;
    const timer = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
      ticks++;
    }, 2);
    await part.get();
    clearInterval(timer);
    const whole = performance.now() - began;
    part.free();
    assert.ok(ticks >= 50 && longest < whole / 5, `${ticks} ticks in ${whole} ms, ${longest} ms apart`);

    const [first, ...rest] = progress;
    assert.deepEqual([first!.state, first!.bytesDone, rest.at(-1)!.state], ["start", 0, "end"]);
    assert.ok(rest.length > 20 && rest.slice(0, -1).every(({ state }) => state === "read"));
    let before = 0;
    for (const { bytes, bytesDone } of rest) {
      assert.ok(bytesDone >= before && bytesDone <= bytes);
      before = bytesDone;
    }
    const [lastRead, end] = rest.slice(-2);
    assert.equal(lastRead!.bytesDone, end!.bytes, "all bytes have been told");
    assert.ok(end!.seconds! > 0);
  });

  test("that is aborted frees what it has read, and loads later", async () => {
    const part = textEncoder();
    const baseline = inMemory();
    const controller = new AbortController();
    const reason = new Error("enough");
    let held = 0;
    atQuarter(() => {
      held = memory.activeMemory();
      controller.abort(reason);
    });
    await assert.rejects(part.get(controller.signal), (error) => error === reason);
    assert.ok(held > baseline[0]! + 20e6, "some had been read");
    assert.ok(shareRead() < 0.5, `${shareRead()} of it was read`);
    assert.deepEqual(inMemory(), baseline);

    await part.get();
    assert.equal(progress.at(-1)!.state, "end");
    part.free();
    assert.deepEqual(inMemory(), baseline);
  });

  test("gives the buffers of what it has quantized to what it reads next, and back at the end", async () => {
    const cacheLimit = { quantizing: 40e6, resting: 1e6 };
    const before = memory.setCacheLimit(cacheLimit.resting);
    const limited = textEncoder(cacheLimit);
    const plain = textEncoder();
    const baseline = inMemory();
    let most = 0;
    onProgress = () => {
      most = Math.max(most, memory.cacheMemory());
    };
    await limited.get();
    assert.ok(most > 10 * cacheLimit.resting && most <= cacheLimit.quantizing, `${most} bytes were kept`);
    assert.equal(memory.cacheMemory(), 0);
    assert.equal(memory.setCacheLimit(before), cacheLimit.resting);
    assert.equal(limited.size().reading - plain.size().reading, cacheLimit.quantizing);
    limited.free();
    assert.deepEqual(inMemory(), baseline);
  });

  test("that is freed while it loads holds nothing", async () => {
    const part = textEncoder();
    const baseline = inMemory();
    atQuarter(() => part.free());
    await assert.rejects(part.get(), /text_encoder_2 have been freed/);
    assert.ok(shareRead() < 0.5);
    assert.deepEqual(inMemory(), baseline);
  });

  test("is read once for those that wait for it; one of them may give up", async () => {
    const part = textEncoder();
    const controller = new AbortController();
    const reason = new Error("enough");
    atQuarter(() => controller.abort(reason));
    const [first, second, third] = await Promise.allSettled([
      part.get(controller.signal),
      part.get(),
      part.get(),
    ]);
    assert.ok(first.status === "rejected" && first.reason === reason);
    assert.ok(second.status === "fulfilled" && third.status === "fulfilled");
    assert.equal(second.value, third.value);
    assert.equal(starts(), 2);
    part.free();
  });

  test("lets one that waits give up at once", async () => {
    const part = textEncoder();
    const controller = new AbortController();
    const reason = new Error("enough");
    atQuarter(() => controller.abort(reason));
    const loading = part.get();
    await assert.rejects(part.get(controller.signal), (error) => error === reason);
    assert.ok(shareRead() < 0.5, `${shareRead()} of it was read by then`);
    await loading;
    part.free();
  });
});

describe("a generation", () => {
  const map = { data: new Uint8Array(64 * 64).map((_, i) => i % 256), width: 64, height: 64, channels: 1 };
  const request = { prompt: "a cube", depthImage: map, width: 64, height: 64, steps: 1, seed: 1 } as const;

  test("that is disposed of while weights are read ends, and frees them", async () => {
    const baseline = inMemory();
    const flux = await FluxDepth.load({
      model: join(folder, "model"),
      onProgress: (event) => {
        if (event.state === "download" || event.component !== "text_encoder_2") return;
        progress.push(event);
        onProgress(event);
      },
    });
    atQuarter(() => flux.dispose());
    await assert.rejects(flux.generate(request), /has been disposed/);
    assert.ok(shareRead() < 0.5);
    assert.deepEqual(inMemory(), baseline);
  });

  test("is what it is alone beside another that is aborted, whatever it reads then", async () => {
    const make = async (onProgress: FluxDepthOptions["onProgress"]) => {
      using flux = await FluxDepth.load({ model: at("models/tiny-world"), onProgress });
      const { image, latents } = await flux.generate(request);
      return { image, latents };
    };
    const expected = await make(() => {});
    for (const component of ["text_encoder", "text_encoder_2", "transformer", "vae"]) {
      const controller = new AbortController();
      using aborted = await FluxDepth.load({ model: join(folder, "model") });
      const [failed, made] = await Promise.allSettled([
        aborted.generate({ ...request, signal: controller.signal }),
        make((event) => {
          if (event.state === "start" && event.component === component) setTimeout(() => controller.abort());
        }),
      ]);
      assert.ok(failed.status === "rejected" && (failed.reason as Error).name === "AbortError");
      assert.deepEqual(made, { status: "fulfilled", value: expected }, component);
    }
  });

  test("that Ctrl-C stops while weights are read exits with 130 at once", async () => {
    const program = at("bin/mflux-depth.js");
    const picture = join(folder, "x.png");
    const flags = [
      "--model",
      join(folder, "model"),
      "--depth-image",
      at("../../examples/images/portrait_depth.png"),
    ];
    const size = ["--width", "64", "--height", "64", "--steps", "1"];
    const child = spawn(process.execPath, [
      program,
      "generate",
      ...flags,
      ...size,
      ...["--prompt", "a cube", "--output", picture],
    ]);
    let err = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      if (!/reading text_encoder_2, .* of/.test(err) && /reading text_encoder_2, .* of/.test(err + text))
        child.kill("SIGINT");
      err += text;
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    assert.equal(code, 130, err);
    assert.match(err, /Stopping …\n$/);
    const sizes = [...err.matchAll(/reading text_encoder_2, ([\d.]+) MB of ([\d.]+) MB/g)];
    const [, done, all] = sizes.at(-1)!;
    assert.ok(Number(done) < Number(all) / 2, err);
  });
});
