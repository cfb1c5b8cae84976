import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { defaultDevice, memory } from "@mflux-depth/mlx";
import { readConfig } from "../../src/files/json.js";
import { T5Encoder, t5Config } from "../../src/models/t5.js";
import { resolveLoadOptions } from "../../src/options/index.js";
import { findModel, openModel } from "../../src/pipeline/model/model.js";
import { type BufferLimits, Component, type LoadProgress } from "../../src/weights/component.js";
import { copyModel, weights } from "../support/damaged-models.js";
import { folderPerTest } from "../support/folders.js";
import { writeLargeText } from "../support/holes.js";
import { modelError } from "../support/hub-fixture.js";

const currentFolder = folderPerTest("component");

describe("Component.size matches the memory held", () => {
  for (const quantize of [3, 4, 5, 6, 8, "none"] as const)
    test(`with bits ${quantize}`, async () => {
      const options = resolveLoadOptions({ model: "tiny-world", quantize, dtype: "float32" });
      const { files } = await findModel(options);
      const { components } = openModel(files, options, defaultDevice());
      for (const component of Object.values(components)) {
        memory.clearCache();
        const free = memory.activeMemory();
        const { bytes } = component.size();
        await component.get();
        const held = memory.activeMemory() - free;
        component.free();
        // Buffers are rounded up.
        assert.ok(held >= bytes && held < 1.05 * bytes + 20_000, `${held} held, ${bytes} predicted`);
      }
    });
});

test("Component.size reads the files once for each number of bits", async () => {
  const { folder, file } = copyModel(currentFolder(), weights.vae);
  const options = resolveLoadOptions({ model: folder, quantize: 4, offline: true });
  const { files } = await findModel(options);
  const vae = openModel(files, options, defaultDevice()).components.vae!;
  const sizes = [vae.size(), vae.size(8)];
  rmSync(file);
  assert.deepEqual([vae.size(4), vae.size(8)], sizes);
  assert.throws(() => vae.size(6), modelError(/contains no weights/));
});

test("Component.size reads the files again after the weights have been read", async () => {
  const { folder, file } = copyModel(currentFolder(), weights.vae);
  const options = resolveLoadOptions({ model: folder, quantize: 4, offline: true });
  const { files } = await findModel(options);
  const vae = openModel(files, options, defaultDevice()).components.vae!;
  vae.size(8);
  await vae.get();
  vae.free();
  rmSync(file);
  assert.throws(() => vae.size(8), modelError(/contains no weights/));
});

describe("a component whose weights take seconds to read", () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), "mflux-depth-component-"));
    writeLargeText(join(folder, "model"), 25);
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  let progress: LoadProgress[] = [];
  let onProgress: () => void = () => {};
  beforeEach(() => {
    progress = [];
    onProgress = () => {};
  });

  function textEncoder(bufferCache?: BufferLimits): Component<T5Encoder> {
    const weights = join(folder, "model", "text_encoder_2");
    const config = t5Config(readConfig(weights, "config.json"), "config.json");
    return new Component({
      folder: weights,
      name: "text_encoder_2",
      build: () => new T5Encoder(config),
      rename: T5Encoder.sanitize,
      dtype: "float32",
      bits: 4,
      bufferCache,
      onProgress: (event) => {
        progress.push(event);
        onProgress();
      },
    });
  }

  const inMemory = (): readonly number[] => {
    memory.clearCache();
    return [memory.activeMemory(), memory.liveHandles()];
  };

  /** The share of the weights that has been read. */
  const shareRead = (): number => {
    const { bytes, bytesDone } = progress.at(-1)!;
    return bytesDone / bytes;
  };

  /** Calls `action` once, when a quarter of the weights has been read. */
  function atQuarter(action: () => void): void {
    let done = false;
    onProgress = () => {
      if (done || shareRead() < 1 / 4) return;
      done = true;
      action();
    };
  }

  test("leaves the event loop free", async () => {
    const component = textEncoder();
    let [ticks, longest, last] = [0, 0, performance.now()];
    const began = last;
    const timer = setInterval(() => {
      const now = performance.now();
      longest = Math.max(longest, now - last);
      last = now;
      ticks++;
    }, 2);
    await component.get();
    clearInterval(timer);
    const whole = performance.now() - began;
    component.free();
    assert.ok(
      ticks >= 50 && longest < whole / 5,
      `${ticks} ticks in ${whole} ms, at most ${longest} ms apart`,
    );
  });

  test("reports its progress up to the last byte", async () => {
    const component = textEncoder();
    await component.get();
    component.free();
    const [first, ...rest] = progress;
    assert.deepEqual([first!.state, first!.bytesDone, rest.at(-1)!.state], ["start", 0, "end"]);
    assert.ok(rest.length > 20 && rest.slice(0, -1).every(({ state }) => state === "read"));
    let before = 0;
    for (const { bytes, bytesDone } of rest) {
      assert.ok(bytesDone >= before && bytesDone <= bytes);
      before = bytesDone;
    }
    const [lastRead, end] = rest.slice(-2);
    assert.equal(lastRead!.bytesDone, end!.bytes);
    assert.ok(end!.seconds! > 0);
  });

  test("frees what it has read when it is aborted", async () => {
    const component = textEncoder();
    const baseline = inMemory();
    const controller = new AbortController();
    const reason = new Error("enough");
    let held = 0;
    atQuarter(() => {
      held = memory.activeMemory();
      controller.abort(reason);
    });
    await assert.rejects(component.get(controller.signal), (error) => error === reason);
    assert.ok(held > baseline[0]! + 20e6, "some weights had been read");
    assert.ok(shareRead() < 0.5, `${shareRead()} had been read`);
    assert.deepEqual(inMemory(), baseline);
  });

  test("loads after it has been aborted", async () => {
    const component = textEncoder();
    const baseline = inMemory();
    const controller = new AbortController();
    atQuarter(() => controller.abort());
    await assert.rejects(component.get(controller.signal), { name: "AbortError" });
    await component.get();
    assert.equal(progress.at(-1)!.state, "end");
    component.free();
    assert.deepEqual(inMemory(), baseline);
  });

  test("reuses the buffers of dense tensors while it quantizes, and frees them at the end", async () => {
    const bufferCache = { quantizing: 40e6 };
    const resting = 1e6;
    const before = memory.setCacheLimit(resting);
    const component = textEncoder(bufferCache);
    const baseline = inMemory();
    let most = 0;
    onProgress = () => {
      most = Math.max(most, memory.cacheMemory());
    };
    await component.get();
    assert.ok(most > 10 * resting && most <= bufferCache.quantizing, `${most} bytes were kept`);
    assert.equal(memory.cacheMemory(), 0);
    assert.equal(memory.setCacheLimit(before), resting);
    component.free();
    assert.deepEqual(inMemory(), baseline);
  });

  test("counts the buffers that it reuses in the memory of reading", () => {
    const bufferCache = { quantizing: 40e6 };
    assert.equal(textEncoder(bufferCache).size().reading - textEncoder().size().reading, 40e6);
  });

  test("holds nothing if it is freed while it loads", async () => {
    const component = textEncoder();
    const baseline = inMemory();
    atQuarter(() => component.free());
    await assert.rejects(component.get(), /text_encoder_2 have been freed/);
    assert.ok(shareRead() < 0.5);
    assert.deepEqual(inMemory(), baseline);
  });

  test("is read again for waiting callers if the first one gives up", async () => {
    const component = textEncoder();
    const controller = new AbortController();
    const reason = new Error("enough");
    atQuarter(() => controller.abort(reason));
    const [first, second, third] = await Promise.allSettled([
      component.get(controller.signal),
      component.get(),
      component.get(),
    ]);
    assert.ok(first.status === "rejected" && first.reason === reason);
    assert.ok(second.status === "fulfilled" && third.status === "fulfilled");
    assert.equal(second.value, third.value);
    assert.equal(progress.filter(({ state }) => state === "start").length, 2);
    component.free();
  });

  test("lets a waiting caller give up at once", async () => {
    const component = textEncoder();
    const controller = new AbortController();
    const reason = new Error("enough");
    atQuarter(() => controller.abort(reason));
    const loading = component.get();
    await assert.rejects(component.get(controller.signal), (error) => error === reason);
    assert.ok(shareRead() < 0.5, `${shareRead()} had been read by then`);
    await loading;
    component.free();
  });
});
