import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { describe, test } from "node:test";
import { instructionSet, processor } from "@mflux-depth/mlx";
import { bfloat16AttentionSpeed, canMultiplyIntegers } from "@mflux-depth/mlx/nn";
import { CommandLine, smallRequest } from "../support/command-line.js";
import { at as inPackage } from "../support/tensors.js";

const { at, run } = new CommandLine();

describe("doctor", () => {
  const env = { HF_HUB_CACHE: at("cache"), HF_TOKEN: "hf_secret" };
  const json = run(["doctor", "--json"], { env });
  const text = run(["doctor"], { env });
  const report = json.then(({ stdout }) => JSON.parse(stdout));

  test("reports versions, MLX, BLAS and memory as JSON", async () => {
    const { node, mlx, memory } = await report;
    assert.equal((await json).code, 0);
    assert.equal(node, process.versions.node);
    assert.match(mlx.version, /^\d+\.\d+/);
    assert.ok(mlx.blas.gflops > 0 && memory.totalBytes > 1e8);
  });

  test("reports the cache and the bundled models", async () => {
    const { models } = await report;
    assert.equal(models.cache, at("cache"));
    const folders = models.found.slice(0, 2).map(({ folder }: { folder: string }) => folder);
    assert.deepEqual(folders, [inPackage("models/tiny-world"), inPackage("models/tiny-depth-anything")]);
  });

  test("reports the CPU kernels on Linux", async () => {
    const { kernels } = (await report).mlx;
    assert.deepEqual(
      kernels,
      process.platform === "linux"
        ? {
            instructionSet: instructionSet(),
            int8: canMultiplyIntegers(),
            depthInt8: canMultiplyIntegers(8),
            processor: processor(),
            bfloat16Attention: bfloat16AttentionSpeed() === "faster",
            bfloat16AttentionSpeed: bfloat16AttentionSpeed(),
          }
        : null,
    );
  });

  test("lists depth estimators with licence, size and measured time, and the one that photos get", async () => {
    const { estimators } = (await report).models;
    const small = estimators.find(({ repository }: { repository: string }) => /V2-Small/.test(repository));
    assert.deepEqual([small.licence, small.folder, small.isDefault], ["Apache-2.0", null, false]);
    assert.ok(small.bytes > 90e6 && small.bytes < 110e6);
    const { stdout } = await text;
    assert.match(stdout, /apple\/DepthPro-hf +not downloaded; licence: Apple's, .*; the default/);
    assert.match(
      stdout,
      /Depth-Anything-V2-Small-hf +not downloaded; licence: Apache-2\.0; .* in memory; 1\.1 s per estimate on two CPU cores$/m,
    );
  });

  test("reports as missing the estimator that MFLUX_DEPTH_DEPTH_MODEL names instead of the default", async () => {
    const chosen = "depth-anything/Depth-Anything-V2-Small-hf";
    const { stdout } = await run(["doctor"], { env: { ...env, MFLUX_DEPTH_DEPTH_MODEL: chosen } });
    assert.ok(stdout.includes(`download --only-depth --depth-model ${chosen}`), stdout);
    assert.doesNotMatch(stdout, /--depth-model apple/);
  });

  test("keeps the token to itself", async () => {
    assert.doesNotMatch((await json).stdout, /hf_secret/);
  });

  test("prints the same for people", async () => {
    const { mlx } = await report;
    const { stdout } = await text;
    assert.ok(stdout.includes(mlx.library) && stdout.includes(at("cache")));
    const { kernels } = mlx;
    assert.ok(
      !kernels ||
        stdout.includes(`${kernels.instructionSet}; ${kernels.int8 ? "quantized" : "everything in"}`),
    );
  });

  test("says in which type attention computes, and why", async () => {
    const { kernels } = (await report).mlx;
    const { stdout } = await text;
    if (kernels)
      assert.match(stdout, kernels.depthInt8 ? /^Depth estimation +8 bits/m : /^Depth estimation +float32/m);
    if (kernels?.int8) assert.match(stdout, /^Attention +(bfloat16|float32)[,;] .*(processor)/m);
    else assert.doesNotMatch(stdout, /^Attention/m);
  });

  test("names the command that downloads each missing model", async () => {
    const { stdout } = await text;
    for (const command of ["download", "download --only-depth --depth-model apple/DepthPro-hf"])
      assert.ok(stdout.includes(`\`mflux-depth ${command}\``), stdout);
  });

  test("phrases the same fixes in JSON", async () => {
    const { stdout } = await text;
    for (const { what, fix } of (await report).problems) {
      assert.equal(typeof fix, "string");
      assert.ok(stdout.includes(`Missing: ${what}\n  Fix: ${fix}\n`), stdout);
    }
  });
});

describe("MFLUX_DEPTH_THREADS with a bad value", {
  skip: process.platform !== "linux" && "only Linux reads it",
}, () => {
  const env = { MFLUX_DEPTH_THREADS: "abc" };
  const message = /MFLUX_DEPTH_THREADS: "abc" is not a number from 1 to 64; correct it, or unset it/;

  test("is what generate complains about", async () => {
    const { code, stderr } = await run([...smallRequest, "--output", at("threads.png")], { env });
    assert.equal(code, 1);
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /rebuild|Unexpected/);
  });

  test("is what doctor says to correct", async () => {
    const { code, stdout } = await run(["doctor"], { env });
    assert.equal(code, 1);
    assert.match(stdout, message);
    assert.match(stdout, /Fix: unset MFLUX_DEPTH_THREADS, or correct it/);
  });
});

test("MFLUX_DEPTH_ISA with a bad value is what doctor says to correct", {
  skip: process.platform !== "linux" && "only Linux reads it",
}, async () => {
  const { code, stdout } = await run(["doctor"], { env: { MFLUX_DEPTH_ISA: "avx1024" } });
  assert.equal(code, 1);
  assert.match(stdout, /MLX does not work: MFLUX_DEPTH_ISA is "avx1024"/);
  assert.match(stdout, /Fix: unset MFLUX_DEPTH_ISA, or correct it/);
});

test("MFLUX_DEPTH_MEMORY_GB with a bad value is what doctor says to correct", async () => {
  const { code, stdout } = await run(["doctor"], { env: { MFLUX_DEPTH_MEMORY_GB: "0,5" } });
  assert.equal(code, 1);
  assert.match(stdout, /Broken: .*: MFLUX_DEPTH_MEMORY_GB must be a number .*, not "0,5"/);
  assert.match(stdout, /Fix: unset MFLUX_DEPTH_MEMORY_GB, or correct it/);
});

describe("when native libraries do not load", () => {
  writeFileSync(
    at("broken.cjs"),
    `const { _extensions } = require("node:module");
     const load = _extensions[".node"];
     _extensions[".node"] = (module, file) => {
       if (/mlx|sharp/.test(file)) throw new Error("wrong ELF class");
       return load(module, file);
     };`,
  );
  const env = { NODE_OPTIONS: `--require ${at("broken.cjs")}` };

  test("doctor names them and their fix, and exits with 1", async () => {
    const { code, stdout, stderr } = await run(["doctor"], { env });
    assert.deepEqual([code, stderr], [1, ""]);
    assert.match(stdout, /^Broken: MLX does not work: [\s\S]*wrong ELF class[\s\S]*\n {2}Fix: npm rebuild/m);
    assert.match(stdout, /^Broken: sharp/m);
  });

  test("generate fails in one sentence", async () => {
    const { code, stderr } = await run([...smallRequest, "--output", at("broken.png")], { env });
    assert.equal(code, 1);
    assert.match(stderr, /addon cannot be loaded/);
    assert.doesNotMatch(stderr, /\n\s+at /);
  });
});
