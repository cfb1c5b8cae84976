import type { ObtainedModel } from "../engine/models.js";
import { type LoadOptions, loadOptions, type OptionSpec } from "../options/index.js";
import type { Command } from "./command.js";
import { describeFlags, helpFlag, parseFlags, refusePositionals } from "./flags.js";
import { downloadOn, progressOn, silent } from "./progress.js";

const modelFlags = {
  model: loadOptions.model,
  revision: loadOptions.revision,
  variant: loadOptions.variant,
  configFrom: loadOptions.configFrom,
  depthModel: loadOptions.depthModel,
  depth: {
    kind: { type: "boolean" },
    text: "Download Depth Pro too, which a photo without a depth map needs; --depth-model does so as well.",
    flags: ["--depth"],
  },
  onlyDepth: {
    kind: { type: "boolean" },
    text: "Download nothing but Depth Pro, which is what the command depth needs.",
    flags: ["--only-depth"],
  },
} as const satisfies Record<string, OptionSpec>;

const outputFlags = {
  json: {
    kind: { type: "boolean" },
    text: "Print one JSON object for each model instead of its folder.",
    flags: ["--json"],
  },
  quiet: { kind: { type: "boolean" }, text: "No progress.", flags: ["--quiet"] },
} as const satisfies Record<string, OptionSpec>;

const table = { ...modelFlags, ...outputFlags, help: helpFlag };

interface Run extends Pick<LoadOptions, "model" | "revision" | "variant" | "configFrom" | "depthModel"> {
  readonly depth?: boolean;
  readonly onlyDepth?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export const download: Command = {
  name: "download",
  summary: "Download a model's files ahead of the first run",
  usage: `Usage: mflux-depth download [FLAGS]

Downloads what generate would with the same flags, and nothing else, into the cache that Hugging Face's libraries share;
what is there already is not asked for. Stopped, it goes on where it was when it runs again. The folder of each model is
printed on standard output, everything else on standard error.

${describeFlags("The model", modelFlags)}
${describeFlags("The result", { ...outputFlags, help: helpFlag })}
Example: mflux-depth download --depth
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(table, argv, io.env);
    refusePositionals(positionals);
    const { depth, onlyDepth, json, quiet, ...load }: Run = values;
    const { obtainDepthModel, obtainModels } = await import("../engine/models.js");
    const progress = quiet ? silent(io) : progressOn(io);
    const options = { signal: io.signal, env: { ...io.env }, onProgress: downloadOn(progress, io) };
    const photo = depth || load.depthModel ? { image: "any" } : {};
    let models: readonly ObtainedModel[];
    try {
      models = onlyDepth
        ? [await obtainDepthModel(load.depthModel ?? undefined, options)]
        : await obtainModels({ load, request: { prompt: "any", ...photo } }, options);
    } finally {
      progress.abandon();
    }
    for (const model of models) io.stdout.write(json ? `${JSON.stringify(model)}\n` : `${model.folder}\n`);
    return 0;
  },
};
