import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { MlxError } from "./errors.js";
import type { Native } from "./native-types.js";

const require = createRequire(import.meta.url);

interface Manifest {
  version: string;
}

const manifest = (path: string): Manifest => JSON.parse(readFileSync(path, "utf8")) as Manifest;

/** Places to look for the addon, in order: a platform package made by native/pack.mjs, then this package's build. */
const candidates: readonly (() => Native)[] = [
  () => {
    // Platform packages are built without CUDA.
    if (process.env.MFLUX_DEPTH_BACKEND?.startsWith("cuda"))
      throw new Error("MFLUX_DEPTH_BACKEND asks for CUDA, which has no platform package");
    const name = `@mflux-depth/mlx-${process.platform}-${process.arch}`;
    const found = require.resolve(`${name}/package.json`);
    const { version } = manifest(found);
    const needed = manifest(require.resolve("../../package.json")).version;
    if (version !== needed) throw new Error(`${name} is ${version}; this package needs ${needed}`);
    return require(name) as Native;
  },
  () => require("../../build/Release/mlx.node") as Native,
];

/**
 * Selects OpenBLAS kernels of older processors on machines where the pinned version's SME kernels give wrong products
 * (Apple's M4 and later, in a virtual machine). With any kernels, the addon also checks a product on loading.
 */
function chooseKernels(): void {
  if (process.platform !== "linux" || process.arch !== "arm64" || process.env.OPENBLAS_CORETYPE) return;
  if (/^Features\s*:.* sme\b/m.test(readFileSync("/proc/cpuinfo", "utf8")))
    process.env.OPENBLAS_CORETYPE = "NEOVERSEN1";
}

/**
 * Loads the addon, and keeps OpenBLAS from starting threads: it computes on the addon's, and its own would spin for tens of
 * milliseconds on every core. OpenBLAS reads the variable while it loads; processes that start later inherit the old value.
 * In a worker thread of Node this has no effect, because the environment there is a copy.
 */
function withoutThreadsOfBlas(load: () => Native): Native {
  const before = process.env.OPENBLAS_NUM_THREADS;
  process.env.OPENBLAS_NUM_THREADS = "1";
  try {
    return load();
  } finally {
    if (before === undefined) delete process.env.OPENBLAS_NUM_THREADS;
    else process.env.OPENBLAS_NUM_THREADS = before;
  }
}

/** The addon's error about an environment variable; null for other failures. */
function settingError(error: unknown): MlxError | null {
  const found = error instanceof Error && /^(MFLUX_DEPTH_THREADS): (.+)$/.exec(error.message);
  return found ? new MlxError(found[1]!, found[2]!) : null;
}

function load(): Native {
  chooseKernels();
  const failures: string[] = [];
  for (const candidate of candidates) {
    try {
      return withoutThreadsOfBlas(candidate);
    } catch (error) {
      // The addon has loaded, so another build would not help.
      const refused = settingError(error);
      if (refused) throw refused;
      failures.push((error as Error).message.split("\n", 1)[0] ?? "");
    }
  }
  throw new MlxError(
    "load",
    `MLX's addon cannot be loaded on ${process.platform}-${process.arch}:\n${failures.map((line) => `  - ${line}`).join("\n")}\n` +
      `Install the platform package, or build the addon: npm rebuild @mflux-depth/mlx --foreground-scripts`,
  );
}

export const native: Native = load();
// The addon throws errors of this class.
native.initialize(MlxError);
