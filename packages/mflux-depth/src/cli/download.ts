import { type Command, describeFlags, parseFlags, pick, refusePositionals } from "../command/index.js";
import type { ObtainedModel } from "../engine/models.js";
import { loadOptions, type OptionTable, optionsFor } from "../options/index.js";
import { helpFlag, jsonFlag, quietFlag } from "./common-flags.js";
import { downloadOn, progressOn, silent } from "./progress.js";

const downloadOptions = optionsFor(loadOptions, "download");

const modelFlags = {
  ...downloadOptions,
  depth: {
    kind: { type: "boolean" },
    text: "Also download the depth estimator, needed for a photo without a depth map; --depth-model does the same.",
    flags: ["--depth"],
  },
  onlyDepth: {
    kind: { type: "boolean" },
    text: "Download only the depth estimator, which the command depth needs.",
    flags: ["--only-depth"],
  },
} as const satisfies OptionTable;

const resultFlags = {
  json: jsonFlag("one JSON object per model instead of its folder"),
  quiet: quietFlag,
  help: helpFlag,
} as const satisfies OptionTable;

const flags = { ...modelFlags, ...resultFlags };

export const download: Command = {
  usage: `Usage: mflux-depth download [FLAGS]

Downloads the files that generate would download with the same flags, and nothing else, into the cache shared by
Hugging Face's libraries. Files that are already there are skipped, and an interrupted download resumes. The folder of
each model is printed on standard output, everything else on standard error.

${describeFlags("The model", modelFlags)}
${describeFlags("The result", resultFlags)}
Example: mflux-depth download --depth
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(flags, argv, io.env);
    refusePositionals(positionals);
    const { depth, onlyDepth, json, quiet } = values;
    const load = pick(values, downloadOptions);
    const { obtainDepthModel, obtainModels } = await import("../engine/models.js");
    const progress = quiet ? silent(io) : progressOn(io);
    const options = { signal: io.signal, env: { ...io.env }, onProgress: downloadOn(progress, io) };
    const photo = depth || load.depthModel ? { image: "any" } : {};
    let models: readonly ObtainedModel[];
    try {
      models = onlyDepth
        ? [await obtainDepthModel(load.depthModel, options)]
        : await obtainModels({ load, request: { prompt: "any", ...photo } }, options);
    } finally {
      progress.abandon();
    }
    for (const model of models) io.stdout.write(json ? `${JSON.stringify(model)}\n` : `${model.folder}\n`);
    return 0;
  },
};
