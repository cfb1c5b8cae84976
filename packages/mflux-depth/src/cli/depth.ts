import { readdir, stat } from "node:fs/promises";
import { basename, dirname, extname, join } from "node:path";
import { type Command, describeFlags, type FlagValues, type Io, parseFlags, pick } from "../command/index.js";
import type { DepthEstimate } from "../depth/estimate.js";
import type { DepthEstimator } from "../depth/estimator.js";
import type { DepthFileOptions, DepthFormat } from "../depth/files.js";
import { ImageError, OptionError } from "../errors.js";
import { checkNewFolder } from "../files/atomic-folder.js";
import { isFolder } from "../files/folders.js";
import { checkName, checkWritable, makeFolder, saveFile } from "../files/output.js";
import { defaultDepthModel } from "../options/defaults.js";
import {
  depthOptions,
  loadOptions,
  type OptionTable,
  optionsFor,
  optionsIn,
  requireNearAboveFar,
} from "../options/index.js";
import { helpFlag, jsonFlag, overwriteFlag, quietFlag } from "./common-flags.js";
import { downloadOn, loadOn, type Progress, progressOn, silent } from "./progress.js";

const mapFlags = optionsIn(depthOptions, "map");

const resultFlags = {
  output: {
    kind: { type: "text" },
    text: "Output file (its extension selects the format) or folder (created if missing).",
    defaultText: "the current folder",
    flags: ["--output", "-o"],
    value: "PLACE",
  },
  ...optionsIn(depthOptions, "result"),
  overwrite: overwriteFlag,
  json: jsonFlag("one JSON object per photo instead of the path"),
  quiet: quietFlag,
} as const satisfies OptionTable;

const modelFlags = {
  ...optionsFor(loadOptions, "depth"),
  depthModel: { ...loadOptions.depthModel, defaultText: defaultDepthModel },
} as const satisfies OptionTable;

/** The file options except the format, which also depends on the output path. */
const { format: _format, ...fileFlags } = depthOptions;

const flags = { ...mapFlags, ...resultFlags, ...modelFlags, help: helpFlag };
type Values = FlagValues<typeof flags>;

export const depth: Command = {
  usage: `Usage: mflux-depth depth PHOTO … [FLAGS]

Estimates the depth of photos and writes a depth map for each, at the photo's size, white = near. A folder means all
images in it. The map of cat.jpg is cat_depth.png in the current folder, unless --output says otherwise. The path of
each map is printed on standard output, everything else on standard error.

${describeFlags("The map", mapFlags)}
${describeFlags("The result", resultFlags)}
${describeFlags("The model", { ...modelFlags, help: helpFlag })}
Example: mflux-depth depth --depth-model tiny-world examples/images/astronaut.jpg --output depth.png
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(flags, argv, io.env);
    if (positionals.length === 0)
      throw new OptionError("photo", "Specify a photo: mflux-depth depth PHOTO.", { code: "option-missing" });
    const { near, far } = depthOptions;
    requireNearAboveFar(values.near ?? near.default, values.far ?? far.default, ["--near", "--far"]);
    // Loads MLX's binding, which help does not need.
    const [{ obtainEstimator }, { checkFileOptions, depthFormatOf }] = await Promise.all([
      import("../depth/open.js"),
      import("../depth/files.js"),
    ]);
    const place = placeOf(values, positionals, (path) => depthFormatOf(path, "--output"));
    checkFileOptions({ ...fileOptions(values), format: place.format });
    const photos = await listPhotos(positionals);
    if (place.file !== undefined && photos.length > 1)
      throw new OptionError(
        "output",
        `--output is one file, but there are ${photos.length} photos; use a folder.`,
        { code: "option-conflict" },
      );
    await checkPlace(place, photos);

    const progress = values.quiet ? silent(io) : progressOn(io);
    const estimator = await obtainEstimator({
      ...pick(values, modelFlags),
      signal: io.signal,
      onDownload: downloadOn(progress, io),
      onLoad: loadOn(progress, io),
    });
    try {
      return await writeAll(photos, estimator, place, values, io, progress);
    } finally {
      progress.abandon();
      estimator.free();
    }
  },
};

/** Estimates and writes every photo; an unreadable photo does not stop the others. @returns the exit code. */
async function writeAll(
  photos: readonly string[],
  estimator: DepthEstimator,
  place: Place,
  values: Values,
  io: Io,
  progress: Progress,
): Promise<number> {
  let failed = 0;
  const written = new Set<string>();
  for (const photo of photos) {
    const began = performance.now();
    try {
      const estimate = await estimateOne(photo, estimator, values, io, progress);
      const wanted = mapPath(place, photo);
      // Photos of the same name from different folders must not overwrite each other's maps.
      const overwrite = (values.overwrite ?? false) && !written.has(wanted);
      const bytes = await estimate.encode({
        ...fileOptions(values),
        format: place.format,
        signal: io.signal,
      });
      io.signal.throwIfAborted();
      if (place.create) await makeFolder(place.folder);
      const path = await saveFile(wanted, bytes, { overwrite });
      written.add(path);
      progress.finish();
      const seconds = (performance.now() - began) / 1000;
      io.stdout.write(values.json ? `${JSON.stringify(describe(estimate, path, seconds))}\n` : `${path}\n`);
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
  values: Values,
  io: Io,
  progress: Progress,
): Promise<DepthEstimate> {
  progress.stage(basename(photo));
  let tenths = 0;
  let last = performance.now();
  return estimator.estimate(photo, {
    // The field-of-view head is a third of the weights: read it only if its result is used.
    fieldOfView: Boolean(values.metres || values.json),
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

const fileOptions = (values: Values): DepthFileOptions => pick(values, fileFlags);

/** Where to write maps: one file, or a folder. */
interface Place {
  readonly file?: string;
  readonly folder: string;
  /** Whether the first map creates the folder. */
  readonly create: boolean;
  readonly format: DepthFormat;
  readonly extension: string;
}

function placeOf(
  values: Values,
  photos: readonly string[],
  formatOfName: (path: string) => DepthFormat,
): Place {
  const { output, format } = values;
  const inFolder = (folder: string, create: boolean): Place => {
    const chosen = format ?? (values.metres ? "npy" : "png");
    return { folder, create, format: chosen, extension: chosen === "jpeg" ? "jpg" : chosen };
  };
  if (output === undefined) return inFolder(".", false);
  if (isFolder(output)) return inFolder(output, false);
  const several = photos.length > 1 || isFolder(photos[0]!);
  if (/[/\\]$/.test(output) || (several && extname(output) === ""))
    return inFolder(output.replace(/[/\\]+$/, ""), true);
  const named = formatOfName(output);
  if (format !== undefined && format !== named)
    throw new OptionError(
      "format",
      `format is ${format}, but the output's name says ${named}; leave one out.`,
      { code: "option-conflict" },
    );
  return { file: output, folder: ".", create: false, format: named, extension: extname(output).slice(1) };
}

const mapPath = (place: Place, photo: string): string =>
  place.file ?? join(place.folder, `${stemOf(photo)}_depth.${place.extension}`);

/** Checks every file that will be written, before any work is done. */
async function checkPlace(place: Place, photos: readonly string[]): Promise<void> {
  const paths = photos.map((photo) => mapPath(place, photo));
  if (place.create) {
    await checkWritable(place.folder);
    await checkNewFolder(place.folder);
    // A name cannot be looked up in a folder that does not exist.
    for (const path of paths) await checkName(join(dirname(place.folder), basename(path)));
  } else for (const path of paths) await checkWritable(path);
}

const stemOf = (path: string): string => basename(path, extname(path));

const imageExtensions = new Set(".jpg .jpeg .png .webp .avif .tif .tiff .gif .heic .heif".split(" "));

/**
 * The photos given as arguments: files, and for a folder the images directly inside, sorted by name, except maps that
 * this command wrote earlier (`*_depth`).
 * @throws {ImageError} when a path does not exist, or a folder has no images.
 */
async function listPhotos(paths: readonly string[]): Promise<string[]> {
  const photos: string[] = [];
  for (const path of paths) {
    const info = await stat(path).catch((error: unknown) => {
      throw new ImageError(path, "there is no such file.", { code: "image-not-found", cause: error });
    });
    photos.push(...(info.isDirectory() ? await photosIn(path) : [path]));
  }
  return photos;
}

async function photosIn(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter(
    (name) => imageExtensions.has(extname(name).toLowerCase()) && !/_depth(_\d+)?$/.test(stemOf(name)),
  );
  if (names.length === 0)
    throw new ImageError(folder, "there are no images in this folder.", { code: "image-not-found" });
  return names.sort().map((name) => join(folder, name));
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
