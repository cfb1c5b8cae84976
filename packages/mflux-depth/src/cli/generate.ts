import { extname } from "node:path";
import {
  type Command,
  describeFlags,
  type FlagValues,
  type Io,
  parseFlags,
  pick,
  refusePositionals,
} from "../command/index.js";
import { OptionError } from "../errors.js";
import { checkWritable } from "../files/output.js";
import { formatOf } from "../images/encode.js";
import { sidecarPath } from "../images/metadata.js";
import {
  bestOfOption,
  type GenerateRequest,
  maxSeed,
  type OptionTable,
  optionsFor,
  requestOptions,
  requireDepthSource,
  requirePhotoForMask,
  resolveLoadOptions,
  resolveRequest,
} from "../options/index.js";
import type { GenerationEvent, StageName } from "../pipeline/events.js";
import type { FluxDepth, FluxDepthOptions } from "../pipeline/flux-depth.js";
import type { GenerationResult } from "../pipeline/result.js";
import { adviceOn } from "./advice.js";
import { helpFlag, jsonFlag, loadOptionsFrom, modelFlags, overwriteFlag, quietFlag } from "./common-flags.js";
import { downloadOn, loadOn, type Progress, progressOn, silent } from "./progress.js";
import { readPrompt } from "./prompt.js";

const imageFlags = {
  ...optionsFor(requestOptions, "generate"),
  promptFile: {
    kind: { type: "text" },
    text: "A file with the prompt, in UTF-8; - reads standard input, like --prompt -.",
    flags: ["--prompt-file"],
    value: "FILE",
  },
  autoSeeds: {
    kind: { type: "integer", min: 1, max: 1000 },
    text: "Make this many images, each with a random seed.",
    flags: ["--auto-seeds"],
    value: "N",
  },
  bestOf: bestOfOption,
  keep: {
    kind: { type: "choice", values: ["best", "all"] },
    text: "Which images of --best-of to write; all prints their paths from the best to the worst.",
    defaultText: "best",
    flags: ["--keep"],
    value: "WHICH",
  },
  judge: {
    kind: { type: "text" },
    text: "The depth estimator that scores for --best-of: a repository, a folder, or a bundled one.",
    defaultText: "one that the map did not come from; a bundled one for tiny-world",
    flags: ["--judge"],
    value: "NAME",
  },
} as const satisfies OptionTable;

const resultFlags = {
  output: {
    kind: { type: "text" },
    default: "image.png",
    text: "Output file; the extension selects PNG, JPEG or WebP. {seed} is replaced by the seed; otherwise several seeds append _seed_N.",
    flags: ["--output", "-o"],
    value: "FILE",
  },
  overwrite: overwriteFlag,
  metadata: {
    kind: { type: "boolean" },
    text: "Also write the parameters to a file next to the image, FILE.metadata.json.",
    flags: ["--metadata"],
  },
  saveDepthMap: {
    kind: { type: "boolean" },
    text: "Write the depth map that was used to a file next to the first image, FILE_depth_map.png.",
    flags: ["--save-depth-map"],
  },
  json: jsonFlag("one JSON object per image instead of its path"),
  quiet: quietFlag,
  help: helpFlag,
} as const satisfies OptionTable;

/** The flags of `generate`. */
export const generateFlags = { ...imageFlags, ...modelFlags, ...resultFlags };
type Values = FlagValues<typeof generateFlags>;

export const generate: Command = {
  usage: `Usage: mflux-depth generate --prompt TEXT --depth-image-path MAP [FLAGS]

Generates an image with the geometry of a depth map and the content of a prompt. The path of each image is printed on
standard output, everything else on standard error.

${describeFlags("The image", imageFlags)}
${describeFlags("The model", modelFlags)}
${describeFlags("The result", resultFlags)}
Example: mflux-depth generate --model tiny-world --prompt "a gold portrait, at sunset" \\
  --depth-image-path examples/images/portrait_depth.png --width 256 --height 256 --output portrait.png
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(generateFlags, argv, io.env);
    refusePositionals(positionals);
    const load = loadOptionsFrom(pick(values, modelFlags));
    resolveLoadOptions(load);
    const { prompt: _prompt, seed: _seed, latents: latentsFile, ...given } = pick(values, requestOptions);
    requireDepthSource(given);
    requirePhotoForMask(given);
    checkSeeds(values);
    const seeds = chooseSeeds(values);
    const output = values.output ?? resultFlags.output.default;
    formatOf(output, "--output");
    const prompt = await readPrompt(values, io);
    resolveRequest({ ...given, prompt });
    const several = seeds.length > 1;
    await checkPlaces(
      seeds.map((seed) => placeOf(output, latentsFile ? null : seed, several)),
      values,
    );
    checkBestOf(values);

    // Loads MLX, so only after the flags have been checked.
    const { FluxDepth } = await import("../pipeline/flux-depth.js");
    const latents = latentsFile && (await import("../pipeline/latents-file.js")).readLatents(latentsFile);
    const progress = values.quiet ? silent(io) : progressOn(io);
    const showDownload = downloadOn(progress, io);
    const showLoad = loadOn(progress, io);
    const onProgress: FluxDepthOptions["onProgress"] = (event) =>
      event.state === "download" ? showDownload(event) : showLoad(event);
    const flux = await FluxDepth.load({ ...load, signal: io.signal, onProgress });
    const show = eventsOn(progress);
    try {
      if (values.bestOf !== undefined) {
        const request = { ...given, prompt, seed: seeds[0] };
        await writeBest(flux, request, values, { output, show, onProgress, progress, io });
        return 0;
      }
      for (const [n, seed] of seeds.entries()) {
        if (several) progress.status(`Image ${n + 1} of ${seeds.length}`);
        const request = { ...given, prompt, seed, ...(latents && { latents }) };
        const result = await generateOne(flux, request, io, show);
        report(await writeOne(result, values, { output, isFirst: n === 0, several }), values, {
          progress,
          io,
        });
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
  decode: "decoding the image",
};

/** Shows the events of generations, and each warning once. */
function eventsOn(progress: Progress): (event: GenerationEvent) => void {
  const warned = new Set<string>();
  return (event) => {
    if (event.type === "stage" && event.state === "start") progress.stage(stageNames[event.stage]);
    if (event.type === "warning" && !warned.has(event.message)) {
      progress.note(`Note: ${[event.message, ...adviceOn(event.remedies)].join(" ")}`);
      warned.add(event.message);
    }
    if (event.type === "step") progress.step(event.index, event.total, event.seconds);
    if (event.type === "result") progress.finish();
  };
}

async function generateOne(
  flux: FluxDepth,
  request: GenerateRequest,
  io: Io,
  show: (event: GenerationEvent) => void,
): Promise<GenerationResult> {
  for await (const event of flux.steps({ ...request, signal: io.signal })) {
    show(event);
    if (event.type === "result") return event.result;
  }
  throw new Error("the generation ended without a result");
}

type BestOfValues = Pick<Values, "bestOf" | "keep" | "judge" | "autoSeeds" | "seed" | "latents">;

/** @throws {OptionError} for options that require --best-of or contradict it. */
export function checkBestOf({ bestOf, keep, judge, autoSeeds, seed, latents }: BestOfValues): void {
  const conflict = (option: string, message: string): never => {
    throw new OptionError(option, message, { code: "option-conflict" });
  };
  if (bestOf === undefined) {
    if (keep !== undefined)
      conflict("keep", "--keep says which images of --best-of to write; give --best-of.");
    if (judge !== undefined) conflict("judge", "--judge scores images for --best-of; give --best-of.");
    return;
  }
  if (autoSeeds !== undefined || (seed?.length ?? 0) > 1)
    conflict("bestOf", "--best-of chooses its seeds; give one --seed to begin with, or none.");
  if (latents !== undefined)
    conflict(
      "bestOf",
      "With the same noise, all images would be identical; leave out --latents or --best-of.",
    );
}

/** Generates the images of --best-of, writes the best or all of them, and says how they were scored. */
async function writeBest(
  flux: FluxDepth,
  request: GenerateRequest,
  values: Values,
  {
    output,
    show,
    onProgress,
    progress,
    io,
  }: Pick<Writing, "output" | "progress" | "io"> & {
    readonly show: (event: GenerationEvent) => void;
    readonly onProgress: FluxDepthOptions["onProgress"];
  },
): Promise<void> {
  const { bestOf } = await import("../pipeline/best-of.js");
  const { bestOf: count, judge, keep } = values;
  const several = keep === "all";
  const written = new Map<number, WrittenImage>();
  let shown = -1;
  const { best, ranking } = await bestOf(flux, request, {
    count: count!,
    depthModel: judge,
    signal: io.signal,
    onProgress,
    onEvent: (event, n) => {
      if (n !== shown) progress.status(`Image ${n + 1} of ${count}`);
      shown = n;
      show(event);
    },
    // Written as they are made, so that memory does not hold all of them.
    ...(several && {
      onScored: async (result, n) => {
        written.set(result.seed!, await writeOne(result, values, { output, isFirst: n === 0, several }));
      },
    }),
  });
  for (const { seed, fidelity } of ranking)
    progress.note(
      `Seed ${seed}: RMSE ${fidelity.rmse.toFixed(1)} of 255, correlation ${fidelity.correlation.toFixed(3)}`,
    );
  if (!several) written.set(best.seed!, await writeOne(best, values, { output, isFirst: true, several }));
  for (const { seed, fidelity } of ranking) {
    const image = written.get(seed);
    if (image) report({ ...image, parameters: { ...image.parameters, fidelity } }, values, { progress, io });
  }
}

interface Writing {
  readonly output: string;
  readonly isFirst: boolean;
  readonly several: boolean;
  readonly progress: Progress;
  readonly io: Io;
}

/** An image that was written, as --json describes it. */
interface WrittenImage {
  readonly path: string;
  readonly depth_map_path?: string;
  readonly metadata_path?: string;
  readonly seed: number | null;
  readonly width: number;
  readonly height: number;
  readonly timings: GenerationResult["timings"];
  readonly warnings: GenerationResult["warnings"];
  readonly parameters: GenerationResult["metadata"];
}

/** Writes an image and the files next to it. */
async function writeOne(
  result: GenerationResult,
  { overwrite = false, metadata = false, saveDepthMap }: Values,
  { output, isFirst, several }: Pick<Writing, "output" | "isFirst" | "several">,
): Promise<WrittenImage> {
  const { seed, image, timings, warnings } = result;
  const path = await result.save(placeOf(output, seed, several), { overwrite, sidecar: metadata });
  // All seeds share the depth map.
  const map =
    saveDepthMap && isFirst ? await result.saveDepthMap(depthMapPath(path), { overwrite }) : undefined;
  return {
    path,
    ...(map !== undefined && { depth_map_path: map }),
    ...(metadata && { metadata_path: sidecarPath(path) }),
    seed,
    width: image.width,
    height: image.height,
    timings,
    warnings,
    parameters: result.metadata,
  };
}

/** Prints the path of an image, or its JSON. */
function report(
  image: WrittenImage,
  { seed, json }: Values,
  { progress, io }: Pick<Writing, "progress" | "io">,
): void {
  if (json) {
    io.stdout.write(`${JSON.stringify(image)}\n`);
    return;
  }
  if (seed === undefined && image.seed !== null) progress.note(`Seed: ${image.seed}`);
  if (image.depth_map_path !== undefined) progress.note(`Depth map: ${image.depth_map_path}`);
  io.stdout.write(`${image.path}\n`);
}

type SeedValues = Pick<Values, "seed" | "autoSeeds" | "latents">;

/** @throws {OptionError} if the noise of the images is given in more than one way. */
export function checkSeeds({ seed, autoSeeds, latents }: SeedValues): void {
  if (seed !== undefined && autoSeeds !== undefined)
    throw new OptionError("seed", "Give either --seed or --auto-seeds, not both.", {
      code: "option-conflict",
    });
  if (latents !== undefined && (seed !== undefined || autoSeeds !== undefined))
    throw new OptionError(
      "latents",
      "Give either --latents or seeds: the noise of --latents needs no seed.",
      { code: "option-conflict" },
    );
}

function chooseSeeds({ seed, autoSeeds }: SeedValues): readonly number[] {
  if (autoSeeds === undefined) return seed ?? [0];
  const drawn = new Set<number>();
  while (drawn.size < autoSeeds) drawn.add(1 + Math.floor(Math.random() * maxSeed));
  return [...drawn];
}

/**
 * The file of an image. `{seed}` is replaced by the seed; without it, several seeds get `_seed_N` appended, as in
 * mflux.
 */
function placeOf(output: string, seed: number | null, several: boolean): string {
  if (output.includes("{seed}")) return output.replaceAll("{seed}", `${seed ?? "none"}`);
  if (!several) return output;
  return `${stemOf(output)}_seed_${seed}${extname(output)}`;
}

/** Checks every file that will be written, before any work is done. */
async function checkPlaces(
  places: readonly string[],
  { metadata, saveDepthMap }: Pick<Values, "metadata" | "saveDepthMap">,
): Promise<void> {
  const [first] = places;
  const others = [
    ...(metadata ? places.map(sidecarPath) : []),
    ...(saveDepthMap && first !== undefined ? [depthMapPath(first)] : []),
  ];
  for (const path of [...places, ...others]) await checkWritable(path);
}

const depthMapPath = (image: string): string => `${stemOf(image)}_depth_map.png`;

const stemOf = (path: string): string => path.slice(0, path.length - extname(path).length);
