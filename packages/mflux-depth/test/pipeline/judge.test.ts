import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { backend, defaultDevice } from "@mflux-depth/mlx";
import { Judge } from "../../src/pipeline/judge.js";
import { at } from "../support/tensors.js";
import { loadTinyWorld, logLoads, onMachineWith, smallRequest } from "../support/tiny-world.js";

const isLinuxCpu = process.platform === "linux" && defaultDevice() === "cpu";

describe("a judge", () => {
  test("computes with the settings of the instance that made the images", {
    skip: isLinuxCpu ? false : "needs a Linux CPU",
  }, async () => {
    const own = backend().blas.threads;
    using flux = await loadTinyWorld({ threads: own + 1 });
    const seen = new Set<number>();
    using judge = await Judge.obtain(flux, smallRequest, {
      onProgress: () => seen.add(backend().blas.threads),
    });
    await judge.score(await flux.generate(smallRequest));
    assert.deepEqual([...seen], [own + 1]);
    assert.equal(backend().blas.threads, own);
  });

  for (const [what, gigabytes, reads] of [
    ["leaves the model in memory where there is room for both", 100, 0],
    ["takes the place of the model where there is not", 0.16, 1],
  ] as const)
    test(what, async () => {
      const loads: string[] = [];
      using flux = await loadTinyWorld({ memory: "resident", ...logLoads(loads) });
      const result = await flux.generate(smallRequest);
      using judge = await Judge.obtain(flux, smallRequest);
      await onMachineWith(gigabytes, () => judge.score(result));
      loads.length = 0;
      await flux.generate({ ...smallRequest, seed: 8 });
      assert.equal(loads.filter((component) => component === "transformer").length, reads);
    });

  test("is refused before an image is made if this machine is too small for it", async () => {
    using flux = await loadTinyWorld();
    await onMachineWith(0.151, () =>
      assert.rejects(Judge.obtain(flux, smallRequest), {
        name: "MemoryError",
        message: /^Scoring with tiny-depth-anything needs about .* choose another judge\.$/,
      }),
    );
    using forced = await loadTinyWorld({ force: true });
    const judge = await onMachineWith(0.151, () => Judge.obtain(forced, smallRequest));
    judge[Symbol.dispose]();
  });

  test("is named without the folders of this machine", async () => {
    using flux = await loadTinyWorld();
    using judge = await Judge.obtain(flux, smallRequest, { depthModel: at("test/golden/depth_anything") });
    const { depth_model: name } = await judge.score(await flux.generate(smallRequest));
    assert.equal(name, "depth_anything");
  });
});
