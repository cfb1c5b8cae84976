import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, readdirSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { MxArray } from "../src/index.js";

// An odd number makes tiles uneven. Set it before the addon reads it.
process.env.MFLUX_DEPTH_THREADS = "3";
const mx = await import("../src/index.js");
const { refuses } = await import("./support/assertions.js");
const { program, source, temporaryFolder } = await import("./support/process.js");

const linux = { skip: process.platform !== "linux" };

/** Reproducible numbers in [-1, 1). */
function numbers(count: number, seed: number): Float64Array {
  const values = new Float64Array(count);
  let state = seed >>> 0;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = Math.fround((state >>> 8) / 2 ** 23 - 1);
  }
  return values;
}

const error = (found: ArrayLike<number>, right: Float64Array): number => {
  assert.equal(found.length, right.length);
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < right.length; i++) {
    const value = right[i]!;
    difference += (found[i]! - value) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(difference / norm);
};

/**
 * Computes `a b` for complex matrices stored as pairs of real and imaginary parts; the latter are zero for real ones.
 */
function product(a: Float64Array, b: Float64Array, m: number, n: number, k: number): Float64Array {
  const c = new Float64Array(2 * m * n);
  for (let i = 0; i < m; i++)
    for (let p = 0; p < k; p++) {
      const re = a[2 * (i * k + p)]!;
      const im = a[2 * (i * k + p) + 1]!;
      for (let j = 0; j < n; j++) {
        const x = b[2 * (p * n + j)]!;
        const y = b[2 * (p * n + j) + 1]!;
        const at = 2 * (i * n + j);
        c[at] = c[at]! + re * x - im * y;
        c[at + 1] = c[at + 1]! + re * y + im * x;
      }
    }
  return c;
}

const kinds = ["float32", "float64", "complex64"] as const;
type Kind = (typeof kinds)[number];

function real(values: Float64Array): Float64Array {
  const parts = new Float64Array(values.length / 2);
  for (let i = 0; i < parts.length; i++) parts[i] = values[2 * i]!;
  return parts;
}

/** Converts complex values to an array of a kind; the imaginary parts are zero for real kinds. */
function matrix(values: Float64Array, shape: [number, number], kind: Kind): MxArray {
  if (kind === "complex64")
    return mx.view(mx.array(Float32Array.from(values), { shape: [shape[0], 2 * shape[1]] }), "complex64");
  const part = real(values);
  return kind === "float64" ? mx.array(part, { shape }) : mx.array(Float32Array.from(part), { shape });
}

function valuesFor(kind: Kind, count: number, seed: number): Float64Array {
  const values = numbers(2 * count, seed);
  if (kind !== "complex64") for (let i = 1; i < values.length; i += 2) values[i] = 0;
  return values;
}

function transposed(values: Float64Array, rows: number, columns: number): Float64Array {
  const result = new Float64Array(values.length);
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++) {
      result[2 * (j * rows + i)] = values[2 * (i * columns + j)]!;
      result[2 * (j * rows + i) + 1] = values[2 * (i * columns + j) + 1]!;
    }
  return result;
}

/** The same matrix in the layouts that MLX passes to BLAS: packed, transposed, and both as part of a wider one. */
const layouts: Record<string, (values: Float64Array, shape: [number, number], kind: Kind) => MxArray> = {
  packed: matrix,
  transposed: (values, [rows, columns], kind) =>
    mx.transpose(matrix(transposed(values, rows, columns), [columns, rows], kind)),
  part: (values, shape, kind) => {
    const whole = mx.pad(matrix(values, shape, kind), [
      [2, 1],
      [5, 3],
    ]);
    return mx.slice(whole, [
      [2, -1],
      [5, -3],
    ]);
  },
  "transposed part": (values, [rows, columns], kind) =>
    mx.transpose(layouts.part!(transposed(values, rows, columns), [columns, rows], kind)),
};

describe("matrix products", () => {
  // From one tile to several; tall, wide and thin. Odd sizes reveal mistakes at edges.
  const shapes = [
    [7, 5, 3],
    [257, 263, 301],
    [1401, 67, 129],
    [67, 1401, 129],
    [1, 1031, 517],
    [5, 1031, 1601],
    [37, 33, 4001],
  ] as const;
  const tolerance = { float32: 1e-6, float64: 1e-14, complex64: 1e-6 };

  for (const kind of kinds)
    test(`of ${kind} are right in all layouts`, () => {
      for (const [m, n, k] of shapes) {
        const a = valuesFor(kind, m * k, m);
        const b = valuesFor(kind, k * n, n);
        const c = product(a, b, m, n, k);
        const right = kind === "complex64" ? c : real(c);
        const lefts = Object.entries(layouts).map(([name, lay]) => [name, lay(a, [m, k], kind)] as const);
        const others = Object.entries(layouts).map(([name, lay]) => [name, lay(b, [k, n], kind)] as const);
        for (const [left, x] of lefts)
          for (const [other, y] of others) {
            using found = mx.matmul(x, y);
            const e = error(found.toTypedArray() as Float32Array, right);
            assert.ok(e < tolerance[kind], `${m}x${n}x${k} ${left} x ${other}: ${e}`);
          }
      }
    });

  test("addmm computes alpha a b + beta c", () => {
    const [m, n, k] = [259, 383, 301];
    const [a, b, c] = [m * k, k * n, m * n].map((count) => valuesFor("float32", count, count));
    const added = real(c!);
    const right = real(product(a!, b!, m, n, k)).map((value, i) => 0.5 * value - 3 * added[i]!);
    for (const [name, lay] of Object.entries(layouts)) {
      const [x, y, z] = [lay(a!, [m, k], "float32"), lay(b!, [k, n], "float32"), lay(c!, [m, n], "float32")];
      const e = error(mx.addmm(z, x, y, { alpha: 0.5, beta: -3 }).toTypedArray() as Float32Array, right);
      assert.ok(e < 1e-6, `${name}: ${e}`);
    }
  });

  test("are right when they are cut along the sum", () => {
    // (a b) v = a (b v)
    const [m, n, k] = [2100, 2050, 1100];
    const a = numbers(m * k, 1);
    const b = numbers(k * n, 2);
    const v = numbers(n, 3);
    const apply = (x: ArrayLike<number>, y: Float64Array, rows: number): Float64Array => {
      const result = new Float64Array(rows);
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < y.length; j++) result[i] = result[i]! + x[i * y.length + j]! * y[j]!;
      return result;
    };
    using c = mx.matmul(
      mx.array(Float32Array.from(a), { shape: [m, k] }),
      mx.array(Float32Array.from(b), { shape: [k, n] }),
    );
    const e = error(apply(c.toTypedArray() as Float32Array, v, m), apply(a, apply(b, v, k), m));
    assert.ok(e < 1e-6, String(e));
  });

  test("and convolutions of MLX use our BLAS", linux, () => {
    const counted = (result: MxArray): number => {
      const { calls } = mx.backend().blas;
      mx.evaluateSync(result);
      return mx.backend().blas.calls - calls;
    };
    assert.equal(counted(mx.matmul(mx.ones([9, 9]), mx.ones([9, 9]))), 1);
    assert.ok(counted(mx.conv2d(mx.ones([1, 9, 9, 4]), mx.ones([8, 3, 3, 4]))) >= 1);
    assert.equal(counted(mx.add(mx.ones([9, 9]), 1)), 0);
  });

  test("use MFLUX_DEPTH_THREADS threads", linux, () => {
    const { blas } = mx.backend();
    assert.match(blas.name, /^OpenBLAS \d/);
    assert.equal(blas.threads, 3);
    for (const wish of ["none", "0", "65", "2 "])
      assert.throws(
        () => program("", { env: { MFLUX_DEPTH_THREADS: wish } }),
        new RegExp(
          `\\bMlxError: MFLUX_DEPTH_THREADS: "${wish}" is not a number from 1 to 64; correct it, or unset it`,
        ),
      );
  });

  test("end within 200 ms of an abort", async () => {
    const size = 4096;
    let delay = Number.POSITIVE_INFINITY;
    for (let time = 0; time < 3 && delay > 200; time++) {
      using m = mx.full([size, size], 1);
      mx.evaluateSync(m);
      const controller = new AbortController();
      const evaluated = mx.evaluate(mx.matmul(m, m), { signal: controller.signal });
      await sleep(60);
      const start = performance.now();
      controller.abort();
      await assert.rejects(evaluated, { name: "AbortError" });
      delay = Math.min(delay, performance.now() - start);
    }
    if (delay > 200) {
      // On a slow machine, compare with the whole product.
      const start = performance.now();
      using whole = mx.scope(() => mx.matmul(mx.full([size, size], 1), mx.full([size, size], 1)));
      await mx.evaluate(whole);
      const duration = performance.now() - start;
      assert.ok(delay < duration / 4, `${delay} ms to end; the whole product takes ${duration}`);
    }
    mx.memory.clearCache();
  });
});

test("OpenBLAS starts no threads, and its environment stays as it was", linux, () => {
  const code = `
    import { readdirSync } from "node:fs";
    await import(${JSON.stringify(source("index"))});
    console.log(readdirSync("/proc/self/task").length, process.env.OPENBLAS_NUM_THREADS);`;
  const [threads, wish] = loaded({ OPENBLAS_NUM_THREADS: "1" });
  assert.equal(wish, "1");
  assert.deepEqual(loaded({ OPENBLAS_NUM_THREADS: "7" }), [threads, "7"]);
  assert.deepEqual(loaded({}), [threads, "undefined"]);

  function loaded(wish: Record<string, string>): string[] {
    const { OPENBLAS_NUM_THREADS: _, ...env } = process.env;
    const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", code], {
      encoding: "utf8",
      env: { ...env, ...wish },
    });
    assert.notEqual(stdout, "", stderr);
    return stdout.trim().split(" ");
  }
});

describe("memory that is not available", linux, () => {
  const afterwards = (): void => {
    using sum = mx.add(mx.ones([3]), 1);
    assert.deepEqual([...sum.toTypedArray()], [2, 2, 2]);
  };

  for (const [name, make] of [
    ["zeros of 10 TB", () => mx.zeros([10_000_000, 250_000])],
    ["a copy of 10 TB", () => mx.add(mx.ones([3_000_000, 1]), mx.ones([1, 900_000]))],
    ["a product of 10 TB", () => mx.matmul(mx.ones([3_000_000, 1]), mx.ones([1, 900_000]))],
  ] as const)
    test(`${name} is an error`, () => {
      const active = mx.memory.activeMemory();
      using huge = mx.scope(make);
      refuses(() => mx.evaluateSync(huge), "evaluateSync", "cannot allocate", /\(\d{14} bytes\)/);
      assert.ok(mx.memory.activeMemory() - active < 50e6);
      afterwards();
    });

  test("beyond the hard limit is an error", () => {
    const before = mx.memory.setMemoryLimit(mx.memory.activeMemory() + 50e6);
    try {
      using first = mx.ones([8_000_000]);
      mx.evaluateSync(first);
      using second = mx.ones([8_000_000]);
      refuses(() => mx.evaluateSync(second), "evaluateSync", "cannot allocate 32.0 MB", "the limit is");
      first.dispose();
      // Freed memory is in the cache and makes room.
      using third = mx.ones([9_000_000]);
      mx.evaluateSync(third);
      afterwards();
    } finally {
      mx.memory.setMemoryLimit(before);
    }
  });

  /** Evaluates `array` in a process of limited memory; prints the error, and then what the process still computes. */
  const withKilobytes = (limit: number, array: string): { stdout: string; status: number | null } => {
    const text = `
      const mx = await import(${JSON.stringify(source("index"))});
      const { native } = await import(${JSON.stringify(source("load"))});
      const active = mx.memory.activeMemory();
      try { mx.evaluateSync(mx.scope(() => ${array})); } catch (error) { console.log(error.message); }
      console.log(mx.memory.activeMemory() - active, mx.add(mx.ones([2]), 1).toString());`;
    return spawnSync(
      "/bin/sh",
      ["-c", `ulimit -v ${limit}; exec "$0" --input-type=module -e "$1"`, process.execPath, text],
      { encoding: "utf8" },
    );
  };

  test("beyond the limit of the system is an error", () => {
    const { stdout, status } = withKilobytes(3_000_000, "mx.ones([700_000_000])");
    assert.equal(status, 0);
    assert.match(stdout, /cannot allocate 2\.8 GB .* the system has no more\n0 array\(\[2, 2\]/);
  });

  test("for the working space of several threads is an error", () => {
    // Each of two threads lays out the rows that it needs in 1.8 GB.
    const [image, weight] = ["mx.ones([1, 2, 500_000, 128])", "mx.ones([2, 7, 7, 128])"];
    const { stdout, status } = withKilobytes(
      3_000_000,
      `native.fusedConvolution(${image}, ${weight}, null, null, null, 1, 3, 3, 1)`,
    );
    assert.equal(status, 0);
    assert.match(
      stdout,
      /cannot allocate 1\.8 GB \(\d+ bytes\) to compute in: the system has no more\n0 array\(\[2, 2\]/,
    );
  });
});

describe("another library in the process", linux, () => {
  const { library } = mx.backend();
  const root = join(dirname(library), "..", "..", "..");
  const start = (code: string, env: NodeJS.ProcessEnv = {}): string => {
    const text = `${code}; await import(${JSON.stringify(source("index"))});`;
    const child = spawnSync(process.execPath, ["--input-type=module", "-e", text], {
      encoding: "utf8",
      env: { ...process.env, ...env },
    });
    assert.equal(child.status, 1, child.stderr);
    return child.stderr;
  };

  test("with a different MLX is rejected", () => {
    const elsewhere = temporaryFolder();
    mkdirSync(join(elsewhere, "build", "Release"), { recursive: true });
    mkdirSync(join(elsewhere, "vendor", "mlx", "lib"), { recursive: true });
    const addon = join(elsewhere, "build", "Release", "mlx.node");
    copyFileSync(join(root, "build", "Release", "mlx.node"), addon);
    copyFileSync(library, join(elsewhere, "vendor", "mlx", "lib", "libmlx.so"));
    for (const name of readdirSync(join(root, "vendor")))
      if (name !== "mlx") symlinkSync(join(root, "vendor", name), join(elsewhere, "vendor", name));
    const said = start(`process.dlopen({ exports: {} }, ${JSON.stringify(addon)})`);
    assert.ok(said.includes("MlxError"), said);
    assert.ok(said.includes(`bound to ${join(elsewhere, "vendor", "mlx", "lib", "libmlx.so")}`), said);
  });

  test("with a BLAS that would replace ours is rejected", (context) => {
    const folder = join(root, "vendor", "mlx_cpu.libs");
    const reference = readdirSync(folder).find((name) => name.startsWith("libblas"));
    if (!reference) return context.skip("this MLX comes without a BLAS of its own");
    const said = start("", { LD_PRELOAD: join(folder, reference) });
    assert.match(said, /MlxError: load: [\s\S]*with a BLAS that another module/);
  });
});
