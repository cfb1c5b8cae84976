import { readdir, stat } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import type { DepthEstimate } from "../depth/estimate.js";
import type { DepthEstimator } from "../depth/estimator.js";
import type { DepthFileOptions, DepthFormat } from "../depth/files.js";
import { ImageError, OptionError } from "../errors.js";
import { checkWritable, makeFolder, saveFile } from "../files/output.js";
import { type DeviceName, loadOptions, type OptionSpec } from "../options/index.js";
import type { Command, Io } from "./command.js";
import { describeFlags, helpFlag, parseFlags } from "./flags.js";
import { downloadOn, loadOn, type Progress, progressOn, silent } from "./progress.js";

const mapFlags = {
  invert: { kind: { type: "boolean" }, text: "Make far white instead of near.", flags: ["--invert"] },
  near: {
    kind: { type: "number", min: 0, max: 100 },
    default: 100,
    text: "The percentile of nearness that becomes white; what is nearer is white too.",
    flags: ["--near"],
    value: "PERCENT",
  },
  far: {
    kind: { type: "number", min: 0, max: 100 },
    default: 0,
    text: "The percentile of nearness that becomes black; what is farther is black too.",
    flags: ["--far"],
    value: "PERCENT",
  },
  gamma: {
    kind: { type: "number", min: 0.01, max: 100 },
    default: 1,
    text: "Above 1 the far parts get more of the range, below 1 the near ones.",
    flags: ["--gamma"],
    value: "N",
  },
  colour: {
    kind: { type: "boolean" },
    text: "Write colours to look at, from violet (far) to yellow (near).",
    flags: ["--colour", "--color"],
  },
} as const satisfies Record<string, OptionSpec>;

const outputFlags = {
  output: {
    kind: { type: "text" },
    text: "A file, whose extension is its format, or a folder, which is made if need be.",
    defaultText: "the current folder",
    flags: ["--output", "-o"],
    value: "PLACE",
  },
  format: {
    kind: { type: "choice", values: ["png", "jpeg", "webp", "npy"] },
    text: "What is written; npy is an array of float32 with the inverse depth as the model gives it.",
    defaultText: "that of the output's extension, else png",
    flags: ["--format"],
    value: "NAME",
  },
  bits: {
    kind: { type: "choice", values: [8, 16] },
    default: 8,
    text: "Levels of a grey PNG.",
    flags: ["--bits"],
    value: "N",
  },
  metres: {
    kind: { type: "boolean" },
    text: "Write distances in metres into the array instead; needs a focal length in EXIF or a model that finds it.",
    flags: ["--metres", "--meters"],
  },
  overwrite: {
    kind: { type: "boolean" },
    text: "Replace a file of that name; otherwise it stays and the new one is called _1, _2 and so on.",
    flags: ["--overwrite"],
  },
  json: {
    kind: { type: "boolean" },
    text: "Print one JSON object for each photo instead of the path.",
    flags: ["--json"],
  },
  quiet: { kind: { type: "boolean" }, text: "No progress.", flags: ["--quiet"] },
} as const satisfies Record<string, OptionSpec>;

const modelFlags = {
  depthModel: { ...loadOptions.depthModel, defaultText: "apple/DepthPro-hf" },
  device: loadOptions.device,
  offline: loadOptions.offline,
} satisfies Record<string, OptionSpec>;

const table = { ...mapFlags, ...outputFlags, ...modelFlags, help: helpFlag };

interface Run extends DepthFileOptions {
  readonly output?: string;
  readonly format?: DepthFormat;
  readonly overwrite?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly depthModel?: string;
  readonly device?: DeviceName;
  readonly offline?: boolean;
}

export const depth: Command = {
  name: "depth",
  summary: "Infer depth maps from photos",
  usage: `Usage: mflux-depth depth PHOTO … [FLAGS]

Infers the depth of photos with Depth Pro and writes a map of each at its size, near is white. A folder stands for
the pictures in it. The map of cat.jpg is cat_depth.png in the current folder, unless --output says otherwise. The
path of each map is printed on standard output, everything else on standard error.

${describeFlags("The map", mapFlags)}
${describeFlags("The result", outputFlags)}
${describeFlags("The model", { ...modelFlags, help: helpFlag })}
Example: mflux-depth depth --depth-model tiny-world examples/images/astronaut.jpg --output depth.png
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(table, argv, io.env);
    const run: Run = values;
    if (positionals.length === 0) throw new OptionError("photo", "Name a photo: mflux-depth depth PHOTO.");
    // Loads MLX's binding, so not for help.
    const [{ obtainEstimator }, { checkFileOptions, depthFormatOf }] = await Promise.all([
      import("../depth/open.js"),
      import("../depth/files.js"),
    ]);
    const place = await placeOf(run, positionals, depthFormatOf);
    checkFileOptions({ ...fileOptions(run), format: place.format });
    const photos = await listPhotos(positionals);
    if (place.file !== undefined && photos.length > 1)
      throw new OptionError(
        "output",
        `output is one file, but there are ${photos.length} photos; name a folder.`,
      );
    await checkWritable(place.file ?? (place.create ? place.folder : join(place.folder, "depth")));

    const progress = run.quiet ? silent(io) : progressOn(io);
    const estimator = await obtainEstimator({
      depthModel: run.depthModel,
      device: run.device,
      offline: run.offline,
      signal: io.signal,
      onDownload: downloadOn(progress, io),
      onLoad: loadOn(progress, io),
    });
    try {
      return await writeAll(photos, estimator, place, run, io, progress);
    } finally {
      progress.abandon();
      estimator.free();
    }
  },
};

/** Goes through the photos; one that cannot be read does not stop the others. @returns the exit code. */
async function writeAll(
  photos: readonly string[],
  estimator: DepthEstimator,
  place: Place,
  run: Run,
  io: Io,
  progress: Progress,
): Promise<number> {
  let failed = 0;
  const written = new Set<string>();
  for (const photo of photos) {
    const began = performance.now();
    try {
      const estimate = await estimateOne(photo, estimator, run, io, progress);
      const wanted = place.file ?? join(place.folder, `${stemOf(photo)}_depth.${place.extension}`);
      // Photos of the same name from different folders must not replace each other.
      const overwrite = (run.overwrite ?? false) && !written.has(wanted);
      const bytes = await estimate.encode({ ...fileOptions(run), format: place.format });
      io.signal.throwIfAborted();
      if (place.create) await makeFolder(place.folder);
      const path = await saveFile(wanted, bytes, { overwrite });
      written.add(path);
      progress.finish();
      const seconds = (performance.now() - began) / 1000;
      io.stdout.write(run.json ? `${JSON.stringify(describe(estimate, path, seconds))}\n` : `${path}\n`);
    } catch (error) {
      if (!(error instanceof ImageError) || photos.length === 1) throw error;
      progress.abandon();
      progress.note(error.message);
      failed++;
    }
  }
  if (failed > 0) progress.note(`${failed} of ${photos.length} photos failed.`);
  return failed > 0 ? 1 : 0;
}

async function estimateOne(
  photo: string,
  estimator: DepthEstimator,
  run: Run,
  io: Io,
  progress: Progress,
): Promise<DepthEstimate> {
  progress.stage(basename(photo));
  let tenths = 0;
  let last = performance.now();
  return estimator.estimate(photo, {
    // Its head is a third of the weights: read only where the result can show it.
    fieldOfView: Boolean(run.metres || run.json),
    signal: io.signal,
    onProgress: (done) => {
      const reached = Math.floor(done * 10);
      if (reached === tenths || !io.stderr.isTTY) return;
      const now = performance.now();
      progress.step(reached, 10, (now - last) / 1000 / (reached - tenths));
      [tenths, last] = [reached, now];
    },
  });
}

const fileOptions = ({ near, far, gamma, invert, colour, metres, bits }: Run): DepthFileOptions => ({
  near,
  far,
  gamma,
  invert,
  ...(colour && { colour }),
  ...(metres && { metres }),
  ...(bits && { bits }),
});

/** Where maps go: one file, or a folder. */
interface Place {
  readonly file?: string;
  readonly folder: string;
  /** The folder is not there yet: the first map makes it. */
  readonly create: boolean;
  readonly format: DepthFormat;
  readonly extension: string;
}

async function placeOf(
  run: Run,
  photos: readonly string[],
  formatOfName: (path: string) => DepthFormat,
): Promise<Place> {
  const { output, format } = run;
  const inFolder = (folder: string, create: boolean): Place => {
    const chosen = format ?? (run.metres ? "npy" : "png");
    return { folder, create, format: chosen, extension: chosen === "jpeg" ? "jpg" : chosen };
  };
  if (output === undefined) return inFolder(".", false);
  if (await isFolder(output)) return inFolder(output, false);
  const several = photos.length > 1 || (await isFolder(photos[0]!));
  if (/[/\\]$/.test(output) || (several && extname(output) === "")) return inFolder(output, true);
  const named = formatOfName(output);
  if (format !== undefined && format !== named)
    throw new OptionError(
      "format",
      `format is ${format}, but the output's name says ${named}; leave one out.`,
    );
  return { file: output, folder: ".", create: false, format: named, extension: extname(output).slice(1) };
}

const isFolder = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined))?.isDirectory() ?? false;

const stemOf = (path: string): string => basename(path, extname(path));

const pictureExtensions = new Set(".jpg .jpeg .png .webp .avif .tif .tiff .gif .heic .heif .svg".split(" "));

/**
 * The photos that arguments name: files as they are, of folders the pictures directly inside, by name. Maps that this
 * command wrote before (`*_depth`) are no photos.
 * @throws {ImageError} when one is not there, or a folder has no pictures.
 */
async function listPhotos(paths: readonly string[]): Promise<string[]> {
  const photos: string[] = [];
  for (const path of paths) {
    const info = await stat(path).catch((error: unknown) => {
      throw new ImageError(path, "there is no such file.", { cause: error });
    });
    if (!info.isDirectory()) {
      photos.push(path);
      continue;
    }
    const inside = (await readdir(path))
      .filter(
        (name) => pictureExtensions.has(extname(name).toLowerCase()) && !/_depth(_\d+)?$/.test(stemOf(name)),
      )
      .sort();
    if (inside.length === 0) throw new ImageError(path, "there are no pictures in this folder.");
    photos.push(...inside.map((name) => join(path, name)));
  }
  return photos;
}

const describe = (estimate: DepthEstimate, path: string, seconds: number): object => ({
  path,
  photo: estimate.source,
  width: estimate.width,
  height: estimate.height,
  range: estimate.range,
  field_of_view: estimate.fieldOfView ?? null,
  focal_length: estimate.focalLength ?? null,
  focal_length_from: estimate.focalLengthFrom ?? null,
  seconds,
});
