import { type Command, describeFlags, parseFlags, pick } from "../command/index.js";
import type { Fidelity, ScoreOptions } from "../depth/score.js";
import { OptionError } from "../errors.js";
import { checkWritable } from "../files/output.js";
import { type OptionTable, scoreOptions } from "../options/index.js";
import { helpFlag, jsonFlag, overwriteFlag, quietFlag } from "./common-flags.js";
import { downloadOn, loadOn, progressOn, silent } from "./progress.js";

const resultFlags = {
  heatmap: {
    kind: { type: "text" },
    text: "Also write an image that shows where depth departs: orange is nearer than asked for, blue farther.",
    flags: ["--heatmap"],
    value: "FILE",
  },
  overwrite: overwriteFlag,
  json: jsonFlag("JSON"),
  quiet: quietFlag,
  help: helpFlag,
} as const satisfies OptionTable;

const flags = { ...scoreOptions, ...resultFlags };

export const score: Command = {
  usage: `Usage: mflux-depth score IMAGE --depth MAP [FLAGS]
       mflux-depth score IMAGE --photo FILE [FLAGS]

Scores how faithfully an image keeps the geometry of a depth map or a photo: estimates the image's depth, fits scale and
shift, and compares. The docs (docs/depth.md) say what the numbers mean.

${describeFlags("What to compare with", scoreOptions)}
${describeFlags("The result", resultFlags)}
Example: mflux-depth score statue.png --depth depth.png --heatmap where.png
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(flags, argv, io.env);
    const [image, ...others] = positionals;
    if (image === undefined || others.length > 0)
      throw new OptionError("image", "Specify one image: mflux-depth score IMAGE --depth MAP.", {
        code: "option-missing",
      });
    const { depth, photo, heatmap, overwrite = false } = values;
    if (depth === undefined && photo === undefined)
      throw new OptionError(
        "depth",
        "Give --depth MAP or --photo FILE: the map or the photo that the image was made from.",
        {
          code: "option-missing",
        },
      );
    if (depth !== undefined && photo !== undefined)
      throw new OptionError("photo", "Give either --depth or --photo, not both.", {
        code: "option-conflict",
      });
    // Loads MLX's binding, which help does not need.
    const [{ score: scoreOf }, { formatOf }] = await Promise.all([
      import("../depth/score.js"),
      import("../images/encode.js"),
    ]);
    if (heatmap !== undefined) {
      formatOf(heatmap, "--heatmap");
      await checkWritable(heatmap);
    }
    const progress = values.quiet ? silent(io) : progressOn(io);
    const [onDownload, onLoad] = [downloadOn(progress, io), loadOn(progress, io)];
    const options: ScoreOptions = {
      ...pick(values, scoreOptions),
      signal: io.signal,
      onProgress: (event) => (event.state === "download" ? onDownload(event) : onLoad(event)),
    };
    try {
      const fidelity = await scoreOf(image, options);
      const written = heatmap === undefined ? null : await fidelity.saveHeatmap(heatmap, { overwrite });
      progress.finish();
      io.stdout.write(
        values.json ? `${JSON.stringify(describe(image, fidelity, written))}\n` : print(fidelity, written),
      );
    } finally {
      progress.abandon();
    }
    return 0;
  },
};

const describe = (image: string, fidelity: Fidelity, heatmap: string | null): object => ({
  image,
  rmse: fidelity.rmse,
  correlation: fidelity.correlation,
  abs_rel: fidelity.absRel,
  edge_f1: fidelity.edgeF1,
  depth_model: fidelity.depthModel,
  heatmap,
});

function print({ rmse, correlation, absRel, edgeF1, depthModel }: Fidelity, heatmap: string | null): string {
  const rows = [
    ["RMSE", `${rmse.toFixed(1)} of 255`],
    ["correlation", correlation.toFixed(3)],
    ["AbsRel", absRel.toFixed(3)],
    ["edge F1", edgeF1.toFixed(3)],
    ["judged by", depthModel],
    ...(heatmap === null ? [] : [["heatmap", heatmap]]),
  ];
  return rows.map(([name, value]) => `${name!.padEnd(11)}  ${value}\n`).join("");
}
