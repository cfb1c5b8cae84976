/*
 * The state of this machine, as shown by `doctor`. Nothing here throws on a broken machine; each problem is reported
 * with its remedy.
 */
import { existsSync } from "node:fs";
import { availableParallelism, cpus, freemem, release, totalmem } from "node:os";
import type { Bfloat16Speed } from "@mflux-depth/mlx/nn";
import { bytesOfEstimator, estimatorModels } from "../depth/descriptions.js";
import type { Remedy } from "../errors.js";
import { controlGroup } from "../memory/control-group.js";
import { defaultDepthModel, defaultModel } from "../options/defaults.js";
import { packageVersion } from "../version.js";

export interface Problem {
  /** The problem in one sentence. */
  readonly what: string;
  readonly remedy: Extract<Remedy, { kind: "download" | "reinstall" | "correct-variable" }>;
  /** Whether it prevents all generations. */
  readonly essential: boolean;
}

export interface MachineReport {
  readonly version: string;
  readonly node: string;
  readonly platform: string;
  readonly processor: { readonly model: string; readonly cores: number };
  readonly memory: {
    readonly totalBytes: number;
    readonly freeBytes: number;
    /** The limit of this process's control group; null if there is none. */
    readonly limitBytes: number | null;
  };
  readonly mlx: MlxReport | null;
  /** The library that decodes and encodes images. */
  readonly codec: { readonly sharp: string; readonly vips: string } | null;
  readonly models: ModelsReport | null;
  readonly problems: readonly Problem[];
}

export interface MlxReport {
  readonly version: string;
  readonly backend: string;
  readonly library: string;
  readonly device: { readonly type: string; readonly name: string };
  readonly blas: {
    readonly name: string;
    readonly threads: number;
    /** How many of this report's multiplications reached our BLAS. */
    readonly proof: { readonly multiplications: number; readonly calls: number };
    /** Billions of float32 operations per second. */
    readonly gflops: number;
  };
  /** The CPU's fused operations; null on backends without them. */
  readonly kernels: {
    readonly instructionSet: string;
    /** Whether quantized layers round their inputs to 8 bits by default. */
    readonly int8: boolean;
    /** Whether depth estimators do, with 8 bits per weight. */
    readonly depthInt8: boolean;
    /** Vendor, family and model of the processor, which determine the type of attention: "GenuineIntel-6-8F". */
    readonly processor: string;
    /** Whether attention then uses bfloat16, on processors where it was measured to be faster than float32. */
    readonly bfloat16Attention: boolean;
    readonly bfloat16AttentionSpeed: Bfloat16Speed;
  } | null;
}

export interface ModelsReport {
  /** The folder of the Hugging Face cache. */
  readonly cache: string;
  /** The environment variables that locate the cache or affect downloads. */
  readonly environment: Readonly<Record<string, string | null>>;
  readonly found: readonly { readonly name: string; readonly folder: string | null }[];
  readonly estimators: readonly EstimatorReport[];
}

/** A published depth estimator. */
export interface EstimatorReport {
  readonly repository: string;
  readonly licence: string;
  /** The size of its weights in memory. */
  readonly bytes: number;
  /** The duration of an estimate on two CPU cores, in seconds; null if it has not been measured. */
  readonly cpuSeconds: number | null;
  /** Null if it is not on this machine. */
  readonly folder: string | null;
  /** Whether photos use it unless another is named. */
  readonly isDefault: boolean;
}

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error)).trim();

/** Checks everything that a generation needs. */
export async function inspectMachine(env: NodeJS.ProcessEnv = process.env): Promise<MachineReport> {
  const problems: Problem[] = [];
  const failed = (what: string, error: unknown, remedy: Problem["remedy"]): null => {
    problems.push({ what: `${what}: ${message(error)}`, remedy, essential: true });
    return null;
  };
  const mlx = await inspectMlx(problems).catch((error: unknown) =>
    failed("MLX does not work", error, remedyOfMlx(error)),
  );
  if (mlx)
    await checkMemory(env).catch((error: unknown) =>
      failed("generations cannot be planned", error, {
        kind: "correct-variable",
        variable: "MFLUX_DEPTH_MEMORY_GB",
      }),
    );
  const codec = await inspectCodec().catch((error: unknown) =>
    failed("sharp, which reads and writes images, does not load", error, {
      kind: "reinstall",
      part: "codec",
    }),
  );
  const models = await inspectModels(env, problems).catch((error: unknown) =>
    // This also fails without MLX, which has already been reported.
    mlx ? failed("models cannot be looked up", error, { kind: "reinstall", part: "everything" }) : null,
  );
  return {
    version: packageVersion(),
    node: process.versions.node,
    platform: `${process.platform}-${process.arch} (${release()})`,
    processor: { model: cpus()[0]?.model.trim() ?? "unknown", cores: availableParallelism() },
    memory: { totalBytes: totalmem(), freeBytes: freemem(), limitBytes: controlGroup()?.limit ?? null },
    mlx,
    codec,
    models,
    problems,
  };
}

/** If MLX's addon rejects a variable, the variable must be corrected; rebuilding the addon would not help. */
function remedyOfMlx(error: unknown): Problem["remedy"] {
  const variable = /\bMFLUX_DEPTH_(?:THREADS|ISA)\b/.exec(message(error))?.[0];
  return variable === undefined ? { kind: "reinstall", part: "mlx" } : { kind: "correct-variable", variable };
}

async function inspectMlx(problems: Problem[]): Promise<MlxReport> {
  const [mlx, nn] = await Promise.all([import("@mflux-depth/mlx"), import("@mflux-depth/mlx/nn")]);
  const { name, version, library, blas } = mlx.backend();
  const instructionSet = mlx.instructionSet();
  const type = mlx.defaultDevice();
  const { device_name: device } = mlx.deviceInfo(type);

  const multiplications = 4;
  const { calls, gflops } = measureMultiplication(mlx, multiplications);
  if (process.platform === "linux" && name === "cpu" && calls < multiplications)
    problems.push({
      what: `MLX uses its own BLAS (${blas.name}), which is about fifty times slower than OpenBLAS`,
      remedy: { kind: "reinstall", part: "mlx" },
      essential: false,
    });
  return {
    version,
    backend: name,
    library,
    device: { type, name: `${device ?? "unknown"}` },
    blas: { name: blas.name, threads: blas.threads, proof: { multiplications, calls }, gflops },
    kernels:
      instructionSet === "none"
        ? null
        : {
            instructionSet,
            int8: nn.canMultiplyIntegers(),
            depthInt8: type === "cpu" && nn.canMultiplyIntegers(8),
            processor: mlx.processor(),
            bfloat16Attention: nn.bfloat16AttentionSpeed() === "faster",
            bfloat16AttentionSpeed: nn.bfloat16AttentionSpeed(),
          },
  };
}

/** Multiplies matrices of ones on the default device, checks the product, and measures the best speed. */
function measureMultiplication(
  mlx: typeof import("@mflux-depth/mlx"),
  times: number,
): { calls: number; gflops: number } {
  const side = 512;
  const before = mlx.backend().blas.calls;
  let best = Number.POSITIVE_INFINITY;
  for (let n = 0; n < times; n++)
    mlx.scope(() => {
      const ones = mlx.ones([side, side], "float32");
      mlx.evaluateSync(ones);
      const started = performance.now();
      const product = mlx.matmul(ones, ones);
      mlx.evaluateSync(product);
      best = Math.min(best, performance.now() - started);
      const wrong = (product.toTypedArray() as Float32Array).find((v) => v !== side);
      if (wrong !== undefined) throw new Error(`a product of ones is ${wrong}, not ${side}`);
    });
  return { calls: mlx.backend().blas.calls - before, gflops: (2 * side ** 3) / (best * 1e6) };
}

/** Reads the memory as generations do; only a wrong variable makes it fail. */
async function checkMemory(env: NodeJS.ProcessEnv): Promise<void> {
  const { machineMemory } = await import("../memory/machine.js");
  machineMemory("cpu", env);
}

async function inspectCodec(): Promise<{ sharp: string; vips: string }> {
  const { default: sharp } = await import("sharp");
  // Loading is not enough: encode something to show that it works.
  await sharp({ create: { width: 1, height: 1, channels: 3, background: "white" } })
    .png()
    .toBuffer();
  return { sharp: sharp.versions.sharp ?? "unknown", vips: sharp.versions.vips };
}

async function inspectModels(env: NodeJS.ProcessEnv, problems: Problem[]): Promise<ModelsReport> {
  const { bundledEstimator, bundledModel, resolveRepository } = await import("../hub/repository.js");
  const { hubCache } = await import("../hub/settings.js");
  const find = (name: string): string | null => {
    try {
      const { folder } = resolveRepository(name, { env });
      return existsSync(folder) ? folder : null;
    } catch {
      return null;
    }
  };
  const depthModel = env.MFLUX_DEPTH_DEPTH_MODEL || defaultDepthModel;
  const wanted = [
    { name: bundledModel, option: null },
    { name: bundledEstimator, option: null },
    { name: defaultModel, option: "model" },
    { name: depthModel, option: "depthModel" },
  ] as const;
  const found = wanted.map(({ name, option }) => ({ name, folder: find(name), option }));
  for (const { name, folder, option } of found) {
    if (folder !== null) continue;
    if (option === null)
      problems.push({
        what: `The bundled ${name} is missing`,
        remedy: { kind: "reinstall", part: "everything" },
        essential: false,
      });
    else
      problems.push({
        what: `${name} is not in the Hugging Face cache`,
        remedy: { kind: "download", model: name, option },
        essential: false,
      });
  }
  return {
    cache: hubCache(env),
    environment: {
      HF_HUB_CACHE: env.HF_HUB_CACHE ?? null,
      HF_HOME: env.HF_HOME ?? null,
      HF_HUB_OFFLINE: env.HF_HUB_OFFLINE ?? null,
      HF_TOKEN: env.HF_TOKEN ? "set" : null,
      MFLUX_DEPTH_DEPTH_MODEL: env.MFLUX_DEPTH_DEPTH_MODEL ?? null,
    },
    found: found.map(({ name, folder }) => ({ name, folder })),
    estimators: estimatorModels.map((model) => ({
      repository: model.repository,
      licence: model.licence,
      bytes: bytesOfEstimator(model),
      cpuSeconds: model.cpuSeconds,
      folder: find(model.repository),
      isDefault: model.repository === depthModel,
    })),
  };
}
