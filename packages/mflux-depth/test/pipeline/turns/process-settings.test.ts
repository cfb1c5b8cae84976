import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { backend, defaultDevice, isAvailable, memory } from "@mflux-depth/mlx";
import { OptionError } from "../../../src/errors.js";
import type { FluxDepthOptions, GenerateOptions } from "../../../src/index.js";
import { digest, loadTinyWorld, smallRequest } from "../../support/tiny-world.js";

const isLinuxCpu = process.platform === "linux" && defaultDevice() === "cpu";
const skip = isLinuxCpu ? false : "needs a Linux CPU";
const own = backend().blas.threads;
const [few, many] = [1, own + 1];

/** The threads and the cache limit at each step of a generation. */
async function settingsDuring(
  flux: Awaited<ReturnType<typeof loadTinyWorld>>,
  request: Partial<GenerateOptions> = {},
): Promise<[threads: number, cacheLimit: number][]> {
  const seen: [number, number][] = [];
  await flux.generate({
    ...smallRequest,
    ...request,
    onStep: () => seen.push([backend().blas.threads, memory.cacheLimit()]),
  });
  return seen;
}

const refusedFor = (option: string) => (error: unknown) =>
  error instanceof OptionError && error.option === option;

describe("threads and cache limit", { skip }, () => {
  test("are those of the instance that computes, whichever was loaded last", async () => {
    using first = await loadTinyWorld({ threads: many, cacheLimitGb: 0.5 });
    using second = await loadTinyWorld({ threads: few, cacheLimitGb: 0.25 });
    assert.deepEqual(await settingsDuring(first), Array(2).fill([many, 0.5e9]));
    assert.deepEqual(await settingsDuring(second), Array(2).fill([few, 0.25e9]));
    assert.deepEqual(await settingsDuring(first), Array(2).fill([many, 0.5e9]));
  });

  test("of one instance do not reach another that asks for none", async () => {
    using plain = await loadTinyWorld();
    using other = await loadTinyWorld({ threads: many, cacheLimitGb: 0.5 });
    const before = await settingsDuring(plain);
    await other.generate(smallRequest);
    assert.deepEqual(await settingsDuring(plain), before);
    assert.equal(before[0]![0], own);
  });

  test("are the process's own again after a generation, however it ends", async () => {
    const before = [own, memory.cacheLimit()];
    using flux = await loadTinyWorld({ threads: many, cacheLimitGb: 0.5 });
    assert.deepEqual([backend().blas.threads, memory.cacheLimit()], before);
    await flux.generate(smallRequest);
    assert.deepEqual([backend().blas.threads, memory.cacheLimit()], before);
    await assert.rejects(flux.generate({ ...smallRequest, depthImage: "none.png" }));
    assert.deepEqual([backend().blas.threads, memory.cacheLimit()], before);
    for await (const { type } of flux.steps(smallRequest)) if (type === "step") break;
    assert.deepEqual([backend().blas.threads, memory.cacheLimit()], before);
  });

  test("do not change while another instance computes", async () => {
    using one = await loadTinyWorld({ threads: many });
    using other = await loadTinyWorld({ threads: few });
    const [first, second] = await Promise.all([settingsDuring(one), settingsDuring(other)]);
    assert.deepEqual(
      [first, second].map((seen) => seen.map(([threads]) => threads)),
      [
        [many, many],
        [few, few],
      ],
    );
  });

  test("of an aborted wait are skipped", async () => {
    using one = await loadTinyWorld({ threads: many });
    using other = await loadTinyWorld({ threads: few });
    const controller = new AbortController();
    const reason = new Error("no longer wanted");
    const first = one.generate(smallRequest);
    const aborted = other.generate({ ...smallRequest, signal: controller.signal });
    const third = one.generate(smallRequest);
    await sleep(5);
    controller.abort(reason);
    await assert.rejects(aborted, (error) => error === reason);
    assert.equal(digest(await third), digest(await first));
    assert.equal(backend().blas.threads, own);
  });

  test("let a loop of one instance generate with another", { timeout: 60_000 }, async () => {
    using one = await loadTinyWorld({ threads: many });
    using other = await loadTinyWorld({ threads: few });
    let inner = "";
    for await (const event of one.steps(smallRequest))
      if (event.type === "step" && event.index === 1) inner = digest(await other.generate(smallRequest));
    assert.equal(inner, digest(await other.generate(smallRequest)));
  });
});

describe("loading", () => {
  const refuse = async (options: FluxDepthOptions, option: string): Promise<void> => {
    const before = [defaultDevice(), backend().blas.threads, memory.cacheLimit()];
    await assert.rejects(loadTinyWorld(options), refusedFor(option));
    assert.deepEqual([defaultDevice(), backend().blas.threads, memory.cacheLimit()], before);
  };

  test(
    "refuses a device that is not there, and changes no setting",
    {
      skip: isAvailable("gpu") ? "has a GPU" : false,
    },
    () => refuse({ device: "gpu", threads: 1, cacheLimitGb: 0.5 }, "device"),
  );

  test(
    "refuses threads on another device or system, and changes no setting",
    {
      skip: isLinuxCpu ? "needs another device or system" : false,
    },
    () => refuse({ threads: 1, cacheLimitGb: 0.5 }, "threads"),
  );

  test("of a model on the CPU does not change the default device", async () => {
    const before = defaultDevice();
    using flux = await loadTinyWorld({ device: "cpu" });
    await flux.generate(smallRequest);
    assert.equal(defaultDevice(), before);
  });
});
