import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, normalize, sep } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const root = fileURLToPath(new URL("../../../../", import.meta.url));

/** A layer of a package: its files, and what they may import in addition to each other and Node's modules. */
interface Layer {
  /** Files and folders (with a slash at the end) under `src`. */
  files: readonly string[];
  /** Layers of the same package that they may import. */
  layers?: readonly string[];
  /** Other packages that they may import, with their subpaths. */
  packages?: readonly string[];
}

const mlx = ["@mflux-depth/mlx", "@mflux-depth/mlx/nn"];

const architecture: Readonly<Record<string, Readonly<Record<string, Layer>>>> = {
  mlx: {
    nn: { files: ["nn/"], layers: ["arrays"] },
    arrays: { files: [""] },
  },
  "mflux-depth": {
    base: { files: ["advice", "errors", "abort", "bytes", "listener", "record", "secrets", "version"] },
    // Which devices MLX has here; depth estimators and the pipeline both ask.
    device: { files: ["device"], layers: ["base"], packages: ["@mflux-depth/mlx"] },
    files: { files: ["files/"], layers: ["base"] },
    options: { files: ["options/"], layers: ["base"] },
    // The parts of a command, which other packages' commands share.
    command: { files: ["command/"], layers: ["base", "options"] },
    images: { files: ["images/"], layers: ["base", "files", "options"], packages: ["sharp", "exif-reader"] },
    tokenizers: {
      files: ["tokenizers/"],
      layers: ["base", "files", "options"],
      packages: ["@huggingface/tokenizers"],
    },
    models: { files: ["models/"], layers: ["base"], packages: mlx },
    sampling: { files: ["sampling/"], layers: ["models"], packages: ["@mflux-depth/mlx"] },
    // Tensors and file formats on one side, repositories and caches on the other: neither imports the other.
    weights: { files: ["weights/"], layers: ["base", "files"], packages: mlx },
    hub: { files: ["hub/"], layers: ["base", "files"], packages: ["@huggingface/hub"] },
    memory: { files: ["memory/"], layers: ["base", "options", "weights"], packages: ["@mflux-depth/mlx"] },
    depth: {
      files: ["depth/"],
      layers: ["base", "device", "files", "options", "images", "models", "memory", "weights", "hub"],
      packages: [...mlx, "exif-reader"],
    },
    families: {
      files: ["families/"],
      layers: ["base", "files", "options", "tokenizers", "models", "sampling", "weights", "hub", "depth"],
      packages: mlx,
    },
    pipeline: {
      files: ["pipeline/"],
      layers: [
        ...["base", "device", "files", "options", "images", "tokenizers", "models", "sampling"],
        ...["weights", "hub", "memory", "depth", "families"],
      ],
      packages: mlx,
    },
    // Reports what this machine has and lacks.
    doctor: {
      files: ["doctor/"],
      layers: ["base", "options", "hub", "memory", "depth"],
      packages: [...mlx, "sharp"],
    },
    index: {
      files: ["index"],
      layers: ["base", "options", "images", "hub", "weights", "depth", "pipeline"],
    },
    // Runs the pipeline in its own process. The owner's side does without MLX.
    engine: {
      files: ["engine/"],
      layers: ["base", "options", "images", "hub", "memory", "depth", "families", "pipeline"],
      packages: ["@mflux-depth/mlx/exit-guard"],
    },
    cli: {
      files: ["cli/"],
      layers: [
        "base",
        "files",
        "options",
        "command",
        "images",
        "memory",
        "depth",
        "pipeline",
        "doctor",
        "engine",
      ],
      packages: ["@mflux-depth/mlx/exit-guard"],
    },
  },
  // The engine's entry point does not load MLX, so that the server's process stays small and survives crashes of MLX.
  server: {
    base: { files: ["certificates", "errors", "version"] },
    // The objects of the HTTP interface, which pages import too.
    contract: { files: ["contract/"] },
    options: { files: ["options/"], layers: ["contract"], packages: ["mflux-depth/options"] },
    "data-folder": { files: ["data-folder/"], layers: ["base"], packages: ["better-sqlite3"] },
    ledger: { files: ["ledger/"], layers: ["base", "contract"], packages: ["better-sqlite3"] },
    blobs: {
      files: ["blobs/"],
      layers: ["base", "contract", "options", "data-folder", "ledger"],
      packages: ["mflux-depth/errors", "mflux-depth/images"],
    },
    history: { files: ["history/"], layers: ["base", "contract", "ledger"] },
    "dispatch-redis": {
      files: ["dispatch/redis/"],
      layers: ["base", "dispatch"],
      packages: ["bullmq", "ioredis"],
    },
    dispatch: { files: ["dispatch/"] },
    requests: {
      files: ["requests/"],
      layers: ["base", "contract", "options", "data-folder", "ledger", "blobs"],
      packages: ["mflux-depth/engine", "mflux-depth/errors", "mflux-depth/images", "mflux-depth/options"],
    },
    work: {
      files: ["work/"],
      layers: [
        "base",
        "contract",
        "options",
        "data-folder",
        "ledger",
        "blobs",
        "history",
        "dispatch",
        "requests",
      ],
      packages: ["mflux-depth/engine", "mflux-depth/images"],
    },
    upkeep: {
      files: ["upkeep/"],
      layers: ["base", "data-folder", "ledger", "blobs", "history", "work"],
      packages: ["mflux-depth/errors", "tar-stream"],
    },
    // Workers on other machines: what they and the API say to each other, and both ends of it.
    fleet: {
      files: ["fleet/"],
      layers: ["base", "contract", "ledger", "history", "dispatch", "requests", "work"],
      packages: ["mflux-depth/engine"],
    },
    // Everything the server does, without HTTP.
    jobs: {
      files: ["jobs/"],
      layers: [
        ...["base", "contract", "data-folder", "ledger", "blobs", "history", "dispatch", "dispatch-redis"],
        ...["requests", "work", "fleet", "upkeep"],
      ],
      packages: ["mflux-depth/engine", "mflux-depth/options"],
    },
    http: {
      files: ["http/"],
      layers: ["base", "contract", "options", "fleet", "jobs"],
      packages: [
        ...[
          "@fastify/multipart",
          "@fastify/static",
          "@fastify/swagger",
          "ajv/dist/2020.js",
          "fastify",
          "pino",
        ],
        ...["prom-client", "mflux-depth/errors", "mflux-depth/images", "mflux-depth/options"],
      ],
    },
    openai: {
      files: ["openai/"],
      layers: ["base", "contract", "options", "jobs", "http"],
      packages: ["fastify", "mflux-depth/images", "mflux-depth/options"],
    },
    command: {
      files: ["main", "app", "flags", "browser", "model-files", "serve/"],
      layers: [
        ...[
          "base",
          "options",
          "data-folder",
          "dispatch-redis",
          "requests",
          "fleet",
          "upkeep",
          "jobs",
          "http",
        ],
        "openai",
      ],
      packages: [
        ...[
          "@fastify/cookie",
          "@fastify/helmet",
          "@fastify/multipart",
          "@fastify/rate-limit",
          "env-paths",
          "fastify",
        ],
        ...["mflux-depth/command", "mflux-depth/engine", "mflux-depth/errors", "mflux-depth/options"],
      ],
    },
  },
  // A page: nothing of Node, and nothing at run time but Preact.
  studio: {
    design: { files: ["design/"] },
    // Every word of the page.
    strings: { files: ["strings"] },
    // Pictures and styles, as Vite gives them out.
    samples: { files: ["samples/", "files.d"] },
    // Depth as something to see and shape. It knows neither the server nor the rest of the page.
    field: { files: ["canvas/field/"] },
    brush: { files: ["canvas/brush/"], layers: ["field"] },
    pictures: { files: ["canvas/pictures/"], layers: ["field"] },
    stage: { files: ["canvas/stage/"], layers: ["field", "brush", "pictures"] },
    canvas: {
      files: ["canvas/"],
      layers: ["strings", "field", "brush", "pictures", "stage"],
      packages: ["preact", "preact/hooks"],
    },
    // The parameters inside pictures, and commands that repeat a job.
    parameters: { files: ["parameters/"] },
    // Options whose values have parts.
    options: { files: ["options/"], packages: ["@mflux-depth/server/contract"] },
    commands: { files: ["commands/"], layers: ["options"], packages: ["@mflux-depth/server/contract"] },
    controls: {
      files: ["controls/"],
      layers: ["design", "strings"],
      packages: ["preact", "preact/hooks"],
    },
    // The only part that talks to the server.
    state: {
      files: ["state/"],
      layers: ["samples", "canvas", "parameters", "options"],
      packages: ["@mflux-depth/server/contract", "@preact/signals", "mflux-depth/depth/polarity"],
    },
    views: {
      files: ["views/", "main"],
      layers: ["design", "strings", "canvas", "commands", "controls", "state"],
      packages: ["@mflux-depth/server/contract", "@preact/signals", "preact", "preact/hooks"],
    },
  },
  nodetool: {
    // Only entry points that do not load MLX, so that the worker's process stays small and survives crashes of MLX.
    node: {
      files: [""],
      packages: [
        "mflux-depth/advice",
        "mflux-depth/command",
        "mflux-depth/engine",
        "mflux-depth/errors",
        "mflux-depth/options",
        "@msgpack/msgpack",
        "ws",
      ],
    },
  },
};

/** The specifiers of a TypeScript module's imports: statements, `export from`, `import()` and `import … = require()`, types included. */
function importsOf(text: string): string[] {
  const code = text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const statements = /^\s*(?:import|export)\b[\w$\s{},*]*?(?:\bfrom|(?<=\bimport))\s*["']([^"']+)["']\s*;/gm;
  const calls = /\bimport\(\s*["'`]([^"'`]+)["'`]\s*\)/g;
  const required = /^\s*import\s+\w+\s*=\s*require\(\s*["']([^"']+)["']\s*\)/gm;
  return [statements, calls, required].flatMap((pattern) =>
    Array.from(code.matchAll(pattern), ([, specifier]) => specifier!),
  );
}

interface Source {
  /** The path under `src`, without extension, with slashes. */
  readonly module: string;
  readonly imports: readonly string[];
}

function sourcesOf(packageName: string): Source[] {
  const folder = join(root, "packages", packageName, "src");
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((file) => /\.tsx?$/.test(file))
    .map((file) => ({
      module: file.replace(/\.tsx?$/, "").replaceAll(sep, "/"),
      imports: importsOf(readFileSync(join(folder, file), "utf8")),
    }));
}

/** The module of the same package that a relative import refers to. */
const target = (from: string, specifier: string): string =>
  normalize(join(dirname(from), specifier.replace(/\.js$/, ""))).replaceAll(sep, "/");

const layerOf = (module: string, layers: Readonly<Record<string, Layer>>): string | undefined =>
  Object.keys(layers).find((name) =>
    layers[name]!.files.some((file) =>
      file === "" || file.endsWith("/") ? module.startsWith(file) : module === file,
    ),
  );

/** One line for each import that the architecture forbids. */
function violations(sources: readonly Source[], layers: Readonly<Record<string, Layer>>): string[] {
  const found: string[] = [];
  for (const { module, imports } of sources) {
    const name = layerOf(module, layers);
    if (name === undefined) {
      found.push(`${module} belongs to no layer`);
      continue;
    }
    const { layers: ours = [], packages = [] } = layers[name]!;
    for (const specifier of imports) {
      if (specifier.startsWith("node:")) continue;
      if (!specifier.startsWith(".")) {
        if (!packages.includes(specifier)) found.push(`${module} (${name}) imports ${specifier}`);
        continue;
      }
      const other = target(module, specifier);
      const layer = layerOf(other, layers);
      if (other.startsWith("../") || layer === undefined || (layer !== name && !ours.includes(layer)))
        found.push(`${module} (${name}) imports ${other} (${layer ?? "no layer"})`);
    }
  }
  return found;
}

/** One line for each permission that no import uses. */
function unused(sources: readonly Source[], layers: Readonly<Record<string, Layer>>): string[] {
  const used = new Set<string>();
  for (const { module, imports } of sources)
    for (const specifier of imports) {
      const other = specifier.startsWith(".") ? layerOf(target(module, specifier), layers) : specifier;
      used.add(`${layerOf(module, layers)} imports ${other}`);
    }
  return Object.entries(layers).flatMap(([name, { layers: ours = [], packages = [] }]) =>
    [...ours, ...packages].map((other) => `${name} imports ${other}`).filter((line) => !used.has(line)),
  );
}

/** Finds modules that import each other in a circle, types included; null if there are none. */
function cycleOf(sources: readonly Source[]): string | null {
  const graph = new Map(
    sources.map(({ module, imports }) => [
      module,
      imports.filter((specifier) => specifier.startsWith(".")).map((specifier) => target(module, specifier)),
    ]),
  );
  const done = new Set<string>();
  const visit = (module: string, path: readonly string[]): string | null => {
    if (path.includes(module)) return [...path.slice(path.indexOf(module)), module].join(" → ");
    if (done.has(module)) return null;
    for (const next of graph.get(module) ?? []) {
      const cycle = visit(next, [...path, module]);
      if (cycle) return cycle;
    }
    done.add(module);
    return null;
  };
  for (const module of graph.keys()) {
    const cycle = visit(module, []);
    if (cycle) return cycle;
  }
  return null;
}

describe("imports", () => {
  test("are found in every form", () => {
    const text = `
      import { a } from "./a.js";
      import type { b } from "./b.js";
      import c, {
        type d,
        e,
      } from 'c';
      import "./side-effect.js";
      export * from "./f.js";
      export { g } from "./g.js";
      // import { no } from "./comment.js";
      /* import { no } from "./comment.js"; */
      const h = await import("./h.js");
      let i: typeof import("./i.js");
      import j = require("j");
      export const text = "import";
    `;
    assert.deepEqual(importsOf(text), [
      "./a.js",
      "./b.js",
      "c",
      "./side-effect.js",
      "./f.js",
      "./g.js",
      "./h.js",
      "./i.js",
      "j",
    ]);
  });

  const source = (module: string, ...imports: string[]): Source => ({ module, imports });

  test("from a forbidden layer or package are found", () => {
    const found = violations(
      [
        source("weights/files", "../models/t5.js"),
        source("models/t5", "./config.js", "sharp"),
        source("cli/main", "@mflux-depth/mlx"),
      ],
      architecture["mflux-depth"]!,
    );
    assert.deepEqual(found, [
      "weights/files (weights) imports models/t5 (models)",
      "models/t5 (models) imports sharp",
      "cli/main (cli) imports @mflux-depth/mlx",
    ]);
  });

  test("of a file outside the layers are not checked, but the file is reported", () => {
    assert.deepEqual(violations([source("utils")], architecture["mflux-depth"]!), [
      "utils belongs to no layer",
    ]);
  });

  test("in a circle are found", () => {
    const circle = [source("a", "./b.js"), source("b", "./c/d.js"), source("c/d", "../a.js")];
    assert.equal(cycleOf(circle), "a → b → c/d → a");
  });

  for (const [name, layers] of Object.entries(architecture))
    test(`in ${name} follow the architecture and have no cycles`, () => {
      const sources = sourcesOf(name);
      assert.ok(sources.length >= 10);
      assert.deepEqual(violations(sources, layers), []);
      assert.deepEqual(unused(sources, layers), []);
      assert.equal(cycleOf(sources), null);
    });
});

test("docs/architecture.md names every folder of the sources", () => {
  const page = readFileSync(join(root, "docs/architecture.md"), "utf8");
  for (const name of Object.keys(architecture)) {
    const folders = readdirSync(join(root, "packages", name, "src"), { withFileTypes: true });
    for (const folder of folders)
      if (folder.isDirectory()) assert.ok(page.includes(`${folder.name}/`), `${name}: ${folder.name}/`);
  }
});

describe("a model family", () => {
  test("is known only to the lists of families", () => {
    const folder = "families/flux1-depth/";
    const outside = sourcesOf("mflux-depth").filter(({ module }) => !module.startsWith(folder));
    const knowing = outside.filter(({ module, imports }) =>
      imports.some((specifier) => specifier.startsWith(".") && target(module, specifier).startsWith(folder)),
    );
    assert.deepEqual(knowing.map(({ module }) => module).sort(), [
      "families/descriptions",
      "families/registry",
    ]);
  });
});

/** Modules of the library that the studio's page bundles. */
const forPages = ["depth/polarity"];

describe("modules for pages", () => {
  for (const entry of forPages)
    test(`${entry} and what it needs at run time need nothing of Node or other packages`, () => {
      const seen = new Set([entry]);
      for (const module of seen) {
        const file = join(root, "packages/mflux-depth/dist/src", `${module}.js`);
        for (const specifier of importsOf(readFileSync(file, "utf8"))) {
          assert.ok(specifier.startsWith("."), `${module} imports ${specifier}`);
          seen.add(target(module, specifier));
        }
      }
      assert.ok(seen.has("images/resample"));
    });
});

/** A strict program that uses the published types. Lines after `@ts-expect-error` must not compile. */
const consumer = `
import { array, evaluate, matmul, type MxArray, MlxError, scope } from "@mflux-depth/mlx";
import { Linear, Module } from "@mflux-depth/mlx/nn";
import { type Checkpoint, FluxDepth, type GenerationEvent, GenerationResult, ModelError, OptionError, type Picture } from "mflux-depth";

class Twice extends Module {
  readonly linear = new Linear(4, 4);
  forward(x: MxArray): MxArray {
    return scope(() => this.linear.forward(this.linear.forward(x)));
  }
}

export async function numbers(): Promise<number[]> {
  using twice = new Twice();
  using x = array([[1, 2, 3, 4]]);
  using y = matmul(twice.forward(x), array(new Float32Array(16), { shape: [4, 4] }));
  await evaluate(y, { signal: AbortSignal.timeout(1000) });
  // @ts-expect-error a shape is numbers
  array([1], { shape: "4" });
  // @ts-expect-error no such dtype
  array([1], { dtype: "float8" });
  // @ts-expect-error shapes are read-only
  y.shape[0] = 2;
  const values = y.toTypedArray();
  return values instanceof Float32Array ? [...values] : [];
}

export async function image(signal?: AbortSignal): Promise<Picture> {
  using flux = await FluxDepth.load({ model: "tiny-world", quantize: 8, memory: "low", signal });
  const depthImage = { data: new Uint8Array(32 * 32), width: 32, height: 32, channels: 1 };
  for await (const event of flux.steps({ prompt: "a cube", depthImage, previewEvery: 5 })) report(event);
  let resume: Checkpoint | null = null;
  for await (const event of flux.steps({ prompt: "a cube", depthImage, seed: 3, withLatents: true, previewKind: "fast" }))
    if (event.type === "step" && event.latents) resume = { step: event.index, latents: event.latents };
  for await (const event of flux.steps({ prompt: "a cube", depthImage, seed: 3, resume })) report(event);
  const depth = await flux.estimateDepth("photo.jpg");
  const map: Float32Array = depth.data;
  await depth.save("depth.png", { bits: 16 });
  const result = await flux.generate({ prompt: "a cube", depthImage, image: null, seed: 3, onStep: ({ index }) => index });
  const path: string = await result.save("cube.webp", { sidecar: true });
  const [, channels, , width]: readonly [number, number, number, number] = result.latents.shape;
  const seed: number | null = result.seed;
  void [map, path, channels, width, seed, result.metadata.prompt, result.timings["denoise"]];
  // @ts-expect-error no such option
  await flux.generate({ prompt: "a cube", depthImage, step: 3 });
  // @ts-expect-error the prompt is missing
  await flux.generate({ depthImage });
  // @ts-expect-error 7 bits are not possible
  await FluxDepth.load({ quantize: 7 });
  // @ts-expect-error results are read-only
  result.seed = 4;
  // @ts-expect-error instances come from load
  new FluxDepth();
  return result.image;
}

function report(event: GenerationEvent): string {
  switch (event.type) {
    case "stage":
      return event.state === "end" ? \`\${event.stage} \${event.seconds}\` : event.stage;
    case "step":
      return \`\${event.index} \${event.total} \${event.preview?.width}\`;
    case "warning":
      return event.message;
    case "result":
      return event.result instanceof GenerationResult ? event.result.warnings.join() : "";
  }
}

export function exitCode(error: unknown): 1 | 2 {
  if (error instanceof OptionError || error instanceof ModelError) return error.exitCode;
  if (error instanceof MlxError) console.error(error.operation);
  return 1;
}
`;

describe("published types", () => {
  const folder = mkdtempSync(join(tmpdir(), "consumer-"));
  after(() => rmSync(folder, { recursive: true }));

  test("compile in a strict program, library checks included", async () => {
    symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    writeFileSync(join(folder, "main.ts"), consumer);
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          target: "es2022",
          lib: ["es2023", "esnext.disposable"],
          module: "nodenext",
          types: ["node"],
          strict: true,
          exactOptionalPropertyTypes: true,
          noUncheckedIndexedAccess: true,
          noUnusedLocals: true,
          skipLibCheck: false,
          noEmit: true,
        },
        files: ["main.ts"],
      }),
    );
    const compiler = join(root, "node_modules", "typescript", "bin", "tsc");
    const complaints = await promisify(execFile)(process.execPath, [compiler, "-p", folder]).then(
      () => null,
      ({ stdout, stderr }: { stdout: string; stderr: string }) => `${stdout}${stderr}`,
    );
    assert.equal(complaints, null);
  });
});
