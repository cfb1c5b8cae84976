import { describeBytes } from "../bytes.js";
import { type Command, describeFlags, parseFlags, pick, refusePositionals } from "../command/index.js";
import { OptionError } from "../errors.js";
import { loadOptions, type OptionTable, optionsFor, resolveLoadOptions } from "../options/index.js";
import { helpFlag, jsonFlag, quietFlag, requireLoras } from "./common-flags.js";
import { downloadOn, type Progress, progressOn, silent } from "./progress.js";

const modelFlags = {
  ...optionsFor(loadOptions, "save"),
  dtype: {
    ...loadOptions.dtype,
    text: "The number format of the tensors that are not quantized, and of the scales.",
    defaultText: "bfloat16, like mflux",
  },
} as const satisfies OptionTable;

const resultFlags = {
  path: {
    kind: { type: "text" },
    text: "The folder to create; an existing one must be empty.",
    flags: ["--path", "-o"],
    value: "FOLDER",
  },
  json: jsonFlag("a JSON object instead of the path"),
  quiet: quietFlag,
  help: helpFlag,
} as const satisfies OptionTable;

const flags = { ...modelFlags, ...resultFlags };

export const save: Command = {
  usage: `Usage: mflux-depth save --model NAME -q BITS --path FOLDER [FLAGS]

Saves a whole model with its weights quantized. Pass the folder to --model, here or in mflux; it loads at disk speed.
Only one large tensor, or a few small ones, is in memory at a time. LoRAs are copied into the folder, or merged into the
weights with --bake-lora. The folder appears complete or not at all. Its path is printed on standard output, everything
else on standard error.

${describeFlags("The model", modelFlags)}
${describeFlags("The result", resultFlags)}
Example: mflux-depth save --model tiny-world -q 4 --path tiny-world-q4
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(flags, argv, io.env);
    refusePositionals(positionals);
    const { path, json, quiet } = values;
    const load = pick(values, modelFlags);
    if (path === undefined)
      throw new OptionError(
        "path",
        "Specify the folder to create: mflux-depth save --model NAME -q BITS --path FOLDER.",
        { code: "option-missing" },
      );
    resolveLoadOptions(load);
    requireLoras(load);
    // Loads MLX's binding, which help does not need.
    const { saveModel } = await import("../pipeline/saving/save-model.js");
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

/** Shows the writing of files: continuously on a terminal, otherwise every tenth. */
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
