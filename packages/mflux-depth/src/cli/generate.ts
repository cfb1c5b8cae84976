import { createReadStream } from "node:fs";
import { extname } from "node:path";
import { addAbortSignal, type Readable } from "node:stream";
import { OptionError } from "../errors.js";
import { checkWritable } from "../files/output.js";
import { formatOf } from "../images/encode.js";
import {
  type GenerateRequest,
  type LoadOptions,
  loadOptions,
  maxSeed,
  type OptionSpec,
  requestOptions,
  resolveLoadOptions,
  resolveRequest,
} from "../options/index.js";
import type { StageName } from "../pipeline/events.js";
import type { FluxDepth } from "../pipeline/flux-depth.js";
import { sidecarPath } from "../pipeline/metadata.js";
import type { GenerationResult } from "../pipeline/result.js";
import { adviceOn } from "./advice.js";
import type { Command, Io } from "./command.js";
import { describeFlags, helpFlag, parseFlags, refusePositionals } from "./flags.js";
import { downloadOn, loadOn, type Progress, progressOn, silent } from "./progress.js";

const promptFlags = {
  promptFile: {
    kind: { type: "text" },
    text: "A file with the prompt, in UTF-8; - reads standard input, as --prompt - does.",
    flags: ["--prompt-file"],
    value: "FILE",
  },
  autoSeeds: {
    kind: { type: "integer", min: 1, max: 1000 },
    text: "Make so many pictures, each with a random seed.",
    flags: ["--auto-seeds"],
    value: "N",
  },
} as const satisfies Record<string, OptionSpec>;

const memoryFlags = {
  lowRam: { kind: { type: "boolean" }, text: "The same as --memory low.", flags: ["--low-ram"] },
} as const satisfies Record<string, OptionSpec>;

const outputFlags = {
  output: {
    kind: { type: "text" },
    default: "image.png",
    text: "Where the picture goes, PNG, JPEG or WebP by its extension. {seed} stands for the seed; with several seeds and no {seed}, _seed_N is added to the name.",
    flags: ["--output", "-o"],
    value: "FILE",
  },
  overwrite: {
    kind: { type: "boolean" },
    text: "Replace a file of that name; otherwise it stays and the new one is called _1, _2 and so on.",
    flags: ["--overwrite"],
  },
  metadata: {
    kind: { type: "boolean" },
    text: "Write the parameters beside the picture too, as FILE.metadata.json.",
    flags: ["--metadata"],
  },
  saveDepthMap: {
    kind: { type: "boolean" },
    text: "Write the depth map that was used beside the first picture, as FILE_depth_map.png.",
    flags: ["--save-depth-map"],
  },
  json: {
    kind: { type: "boolean" },
    text: "Print one JSON object for each picture instead of its path.",
    flags: ["--json"],
  },
  quiet: { kind: { type: "boolean" }, text: "No progress.", flags: ["--quiet"] },
} as const satisfies Record<string, OptionSpec>;

const table = {
  ...requestOptions,
  ...promptFlags,
  ...loadOptions,
  ...memoryFlags,
  ...outputFlags,
  help: helpFlag,
};

const usage = `Usage: mflux-depth generate --prompt TEXT --depth-image-path MAP [FLAGS]

Makes a picture with the geometry of a depth map and the looks of a prompt. The path of each picture is printed
on standard output, everything else on standard error.

${describeFlags("The picture", { ...requestOptions, ...promptFlags })}
${describeFlags("The model", { ...loadOptions, ...memoryFlags })}
${describeFlags("The result", { ...outputFlags, help: helpFlag })}
Example: mflux-depth generate --model tiny-world --prompt "a gold portrait, at sunset" \\
  --depth-image-path examples/images/portrait_depth.png --width 256 --height 256 --output portrait.png
`;

/** What this command's flags say beside the options of the library. */
interface Run {
  readonly prompt?: string;
  readonly promptFile?: string;
  readonly seed?: readonly number[];
  readonly autoSeeds?: number;
  readonly latents?: string;
  readonly memory?: "resident" | "low";
  readonly lowRam?: boolean;
  readonly output?: string;
  readonly overwrite?: boolean;
  readonly metadata?: boolean;
  readonly saveDepthMap?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export const generate: Command = {
  name: "generate",
  summary: "Make a picture from a prompt and a depth map",
  usage,
  async run(argv, io) {
    const { values, positionals } = parseFlags(table, argv, io.env);
    refusePositionals(positionals);
    const run: Run = values;
    const load: LoadOptions = {
      ...pick<LoadOptions>(values, loadOptions),
      ...(run.lowRam && { memory: "low" }),
    };
    resolveLoadOptions(load);
    const base: Omit<GenerateRequest, "prompt" | "seed" | "latents"> = pick(values, requestOptions, [
      "prompt",
      "seed",
      "latents",
    ]);
    if (!base.depthImage && !base.image)
      throw new OptionError(
        "depthImage",
        "Give a depth map with --depth-image-path, or a photo to infer one from with --image-path.",
      );
    const seeds = chooseSeeds(run);
    const output = run.output ?? outputFlags.output.default;
    formatOf(output);
    const prompt = await readPrompt(run, io);
    resolveRequest({ ...base, prompt });
    await checkWritable(output);

    // Loads MLX, so not before the flags are known to be good.
    const { FluxDepth } = await import("../pipeline/flux-depth.js");
    const latents = run.latents && (await import("../pipeline/latents-file.js")).readLatents(run.latents);
    const progress = run.quiet ? silent(io) : progressOn(io);
    const showDownload = downloadOn(progress, io);
    const showLoad = loadOn(progress, io);
    const flux = await FluxDepth.load({
      ...load,
      signal: io.signal,
      onProgress: (event) => {
        if (event.state === "download") return showDownload(event);
        showLoad(event);
      },
    });
    const warned = new Set<string>();
    try {
      for (const [n, seed] of seeds.entries()) {
        if (seeds.length > 1) progress.status(`Picture ${n + 1} of ${seeds.length}`);
        const request = { ...base, prompt, seed, ...(latents && { latents }) };
        const result = await make(flux, request, io, progress, warned);
        const overwrite = run.overwrite ?? false;
        const path = await result.save(placeOf(output, result.seed, seeds.length > 1), {
          overwrite,
          sidecar: run.metadata ?? false,
        });
        // All seeds share it.
        const map =
          run.saveDepthMap && n === 0
            ? await result.saveDepthMap(`${stemOf(path)}_depth_map.png`, { overwrite })
            : undefined;
        if (run.seed === undefined && result.seed !== null && !run.json)
          progress.note(`Seed: ${result.seed}`);
        if (map && !run.json) progress.note(`Depth map: ${map}`);
        io.stdout.write(
          run.json ? `${JSON.stringify(describe(result, path, map, run.metadata))}\n` : `${path}\n`,
        );
      }
    } finally {
      progress.abandon();
      flux.dispose();
    }
    return 0;
  },
};

const stageNames: Readonly<Record<StageName, string>> = {
  text: "reading the prompt",
  depth: "estimating depth",
  control: "encoding the depth map",
  image: "encoding the photo",
  denoise: "denoising",
  decode: "decoding the picture",
};

async function make(
  flux: FluxDepth,
  request: GenerateRequest,
  io: Io,
  progress: Progress,
  warned: Set<string>,
): Promise<GenerationResult> {
  for await (const event of flux.steps({ ...request, signal: io.signal })) {
    if (event.type === "stage" && event.state === "start") progress.stage(stageNames[event.stage]);
    if (event.type === "warning" && !warned.has(event.message)) {
      progress.note(`Note: ${[event.message, ...adviceOn(event.remedies)].join(" ")}`);
      warned.add(event.message);
    }
    if (event.type === "step") progress.step(event.index, event.total, event.seconds);
    if (event.type === "result") {
      progress.finish();
      return event.result;
    }
  }
  throw new Error("the generation ended without a result");
}

/** The options of a table among the values given. */
function pick<T>(
  values: Readonly<Record<string, unknown>>,
  options: Readonly<Record<string, OptionSpec>>,
  without: readonly string[] = [],
): T {
  const names = Object.keys(options).filter((name) => name in values && !without.includes(name));
  return Object.fromEntries(names.map((name) => [name, values[name]])) as T;
}

function chooseSeeds({ seed, autoSeeds, latents }: Run): readonly number[] {
  if (seed !== undefined && autoSeeds !== undefined)
    throw new OptionError("seed", "Give either --seed or --auto-seeds, not both.");
  if (latents !== undefined && (seed !== undefined || autoSeeds !== undefined))
    throw new OptionError("latents", "Give either --latents or seeds: the noise of --latents needs no seed.");
  if (autoSeeds === undefined) return seed ?? [0];
  const drawn = new Set<number>();
  while (drawn.size < autoSeeds) drawn.add(1 + Math.floor(Math.random() * maxSeed));
  return [...drawn];
}

async function readPrompt({ prompt, promptFile }: Run, io: Io): Promise<string> {
  if (prompt !== undefined && promptFile !== undefined)
    throw new OptionError("prompt", "Give either --prompt or --prompt-file, not both.");
  if (prompt === undefined && promptFile === undefined)
    throw new OptionError("prompt", "--prompt is missing: say what to draw.");
  if (prompt !== undefined && prompt !== "-") return prompt;
  const fromInput = prompt === "-" || promptFile === "-";
  const source = fromInput ? "standard input" : promptFile!;
  const stream = addAbortSignal(io.signal, fromInput ? io.stdin : createReadStream(promptFile!));
  const text = await readText(stream).catch((error: unknown) => {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === "ENOENT"
        ? "there is no such file"
        : code === "EISDIR"
          ? "is a folder"
          : `cannot be read (${code ?? error})`;
    throw new OptionError("promptFile", `--prompt-file ${source}: ${reason}.`, { cause: error });
  });
  const trimmed = text.replace(/^\ufeff/, "").trim();
  if (trimmed === "") throw new OptionError("prompt", `The prompt in ${source} is blank.`);
  return trimmed;
}

async function readText(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks).toString("utf8");
}

/** `{seed}` in the name is the seed; of several seeds without it, each gets `_seed_N`, as in mflux. */
function placeOf(output: string, seed: number | null, several: boolean): string {
  if (output.includes("{seed}")) return output.replaceAll("{seed}", `${seed ?? "none"}`);
  if (!several) return output;
  return `${stemOf(output)}_seed_${seed}${extname(output)}`;
}

const stemOf = (path: string): string => path.slice(0, path.length - extname(path).length);

const describe = (
  result: GenerationResult,
  path: string,
  map: string | undefined,
  sidecar = false,
): object => ({
  path,
  ...(map !== undefined && { depth_map_path: map }),
  ...(sidecar && { metadata_path: sidecarPath(path) }),
  seed: result.seed,
  width: result.image.width,
  height: result.image.height,
  timings: result.timings,
  warnings: result.warnings,
  parameters: result.metadata,
});
