import { describeBytes } from "../bytes.js";
import { OptionError } from "../errors.js";
import { type LoadOptions, loadOptions, type OptionSpec, resolveLoadOptions } from "../options/index.js";
import type { Command } from "./command.js";
import { describeFlags, helpFlag, parseFlags, refusePositionals } from "./flags.js";
import { downloadOn, type Progress, progressOn, silent } from "./progress.js";

const modelFlags = {
  model: loadOptions.model,
  revision: loadOptions.revision,
  variant: loadOptions.variant,
  offline: loadOptions.offline,
  configFrom: loadOptions.configFrom,
  quantize: loadOptions.quantize,
  dtype: {
    ...loadOptions.dtype,
    text: "The numbers of what is not quantized, and of the scales.",
    defaultText: "bfloat16, as mflux has it",
  },
} as const satisfies Record<string, OptionSpec>;

const outputFlags = {
  path: {
    kind: { type: "text" },
    text: "The folder to make; one that is there must be empty.",
    flags: ["--path", "-o"],
    value: "FOLDER",
  },
  json: { kind: { type: "boolean" }, text: "Print a JSON object instead of the path.", flags: ["--json"] },
  quiet: { kind: { type: "boolean" }, text: "No progress.", flags: ["--quiet"] },
} as const satisfies Record<string, OptionSpec>;

const table = { ...modelFlags, ...outputFlags, help: helpFlag };

interface Run extends Pick<LoadOptions, keyof typeof modelFlags> {
  readonly path?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export const save: Command = {
  name: "save",
  summary: "Save a model quantized, to load in seconds here and in mflux",
  usage: `Usage: mflux-depth save --model NAME -q BITS --path FOLDER [FLAGS]

Saves a whole model with its weights quantized. The folder can be given as --model, here and to mflux, and loads as fast
as the disk reads. One tensor at a time is in memory. The folder appears whole or not at all; its path is printed on
standard output, everything else on standard error.

${describeFlags("The model", modelFlags)}
${describeFlags("The result", { ...outputFlags, help: helpFlag })}
Example: mflux-depth save --model tiny-world -q 4 --path tiny-world-q4
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(table, argv, io.env);
    refusePositionals(positionals);
    const { path, json, quiet, ...load }: Run = values;
    if (path === undefined)
      throw new OptionError(
        "path",
        "Say which folder to make: mflux-depth save --model NAME -q BITS --path FOLDER.",
      );
    resolveLoadOptions(load);
    // Loads MLX's binding, so not for help.
    const { saveModel } = await import("../pipeline/save-model.js");
    const progress = quiet ? silent(io) : progressOn(io);
    const showDownload = downloadOn(progress, io);
    const showWriting = writingOn(progress, io.stderr.isTTY === true);
    try {
      const saved = await saveModel({
        ...load,
        path,
        signal: io.signal,
        onProgress: (event) => (event.state === "download" ? showDownload(event) : showWriting(event)),
      });
      progress.finish();
      for (const note of saved.notes) progress.note(note);
      io.stdout.write(json ? `${JSON.stringify(saved)}\n` : `${saved.path}\n`);
    } finally {
      progress.abandon();
    }
    return 0;
  },
};

/** Shows the writing: as it comes on a terminal, each tenth elsewhere. */
function writingOn(
  progress: Progress,
  terminal: boolean,
): (event: { component: string; bytes: number; totalBytes: number }) => void {
  let stage = "";
  let shown = -1;
  return ({ component, bytes, totalBytes }) => {
    if (component !== stage) progress.stage(component);
    stage = component;
    const tenth = Math.floor((10 * bytes) / totalBytes);
    if (!terminal && tenth === shown) return;
    shown = tenth;
    progress.status(`writing, ${describeBytes(bytes)} of ${describeBytes(totalBytes)}`);
  };
}
