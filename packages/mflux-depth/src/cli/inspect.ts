import { describeBytes } from "../bytes.js";
import { type Command, describeFlags, parseFlags, pick } from "../command/index.js";
import { OptionError } from "../errors.js";
import { loadOptions, type OptionTable } from "../options/index.js";
import type {
  InspectedAdapter,
  InspectedCheckpoint,
  InspectedEstimator,
  InspectedFit,
  InspectedModel,
  Inspection,
} from "../pipeline/inspect.js";
import { helpFlag, jsonFlag } from "./common-flags.js";
import { printableJson, printableLine } from "./printable.js";

const { default: _, env: __, ...comparedModel } = loadOptions.model;

const modelFlags = {
  model: {
    ...comparedModel,
    text: "The model that a LoRA is for.",
    defaultText: "FLUX.1 Depth as published",
  },
  revision: loadOptions.revision,
  variant: loadOptions.variant,
  componentsFrom: loadOptions.componentsFrom,
  configFrom: loadOptions.configFrom,
  quantize: loadOptions.quantize,
  memory: loadOptions.memory,
  device: loadOptions.device,
} as const satisfies OptionTable;

const resultFlags = {
  json: jsonFlag("JSON, with sizes in bytes"),
  help: helpFlag,
} as const satisfies OptionTable;

const flags = { ...modelFlags, ...resultFlags };

export const inspect: Command = {
  usage: `Usage: mflux-depth inspect FILE|FOLDER|REPO [FLAGS]

Says what a model, a transformer in one file, a depth estimator or a LoRA is (family, format, number format or bits,
components, ranks), and whether it would load here. Reads headers and configs; loads and downloads nothing.

${describeFlags("The model", modelFlags)}
${describeFlags("The result", resultFlags)}
Example: mflux-depth inspect style.safetensors
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(flags, argv, io.env);
    const [name, ...others] = positionals;
    if (name === undefined || others.length > 0)
      throw new OptionError("name", "Specify one thing to inspect: mflux-depth inspect FILE|FOLDER|REPO.", {
        code: "option-missing",
      });
    // Loads MLX's binding, which help does not need.
    const pipeline = await import("../pipeline/inspect.js");
    const found = await pipeline.inspect(name, pick(values, modelFlags));
    // JSON has the config, not the words for it.
    const facts = { ...found, component: undefined, summary: undefined };
    io.stdout.write(values.json ? `${printableJson(facts)}\n` : print(found));
    return 0;
  },
};

function print(found: Inspection): string {
  switch (found.kind) {
    case "checkpoint":
      return printCheckpoint(found);
    case "model":
      return printModel(found);
    case "depth-estimator":
      return printEstimator(found);
    case "adapter":
      return printAdapter(found);
  }
}

function printCheckpoint({
  name,
  family,
  path,
  component,
  summary,
  fit,
  notes,
  ...weights
}: InspectedCheckpoint): string {
  return [
    table([
      [component, name],
      ["family", family],
      ["file", path],
      ["size", describeBytes(weights.bytes)],
      ["numbers", numbersOf(weights)],
      ["tensors", `${weights.tensors}`],
      ...summary,
      ...(fit ? [["memory", memoryOf(fit)]] : []),
    ]),
    ...notes.map((note) => `Note: ${note}\n`),
  ].join("\n");
}

/** "8.1 GB of 16.0 GB for an image of 1024 × 1024 (4 bits, resident): it fits". */
function memoryOf({ fits, peak, available, quantize, memory }: InspectedFit): string {
  const setting = `${quantize === null ? "unquantized" : `${quantize} bits`}, ${memory}`;
  return `${describeBytes(peak)} of ${describeBytes(available)} for an image of 1024 × 1024 (${setting}): ${fits ? "it fits" : "it does not fit"}`;
}

function printModel({
  name,
  family,
  layout,
  revision,
  folder,
  components,
  fit,
  notes,
}: InspectedModel): string {
  return [
    table([
      ["model", name],
      ["family", family],
      ["layout", layout],
      ...(revision ? [["revision", revision]] : []),
      ["folder", folder],
      ["memory", memoryOf(fit)],
    ]),
    table([
      ["component", "size", "numbers", "tensors"],
      ...components.map(({ name, bits, ...weights }) => [
        name,
        describeBytes(weights.bytes),
        bits === null ? numbersOf(weights) : `${bits} bits`,
        `${weights.tensors}`,
      ]),
    ]),
    ...notes.map((note) => `Note: ${note}\n`),
  ].join("\n");
}

const printEstimator = ({ name, estimator, folder, ...weights }: InspectedEstimator): string =>
  table([
    ["depth estimator", name],
    ["kind", estimator],
    ["folder", folder],
    ["size", describeBytes(weights.bytes)],
    ["numbers", numbersOf(weights)],
    ["tensors", `${weights.tensors}`],
  ]);

function fitOf({ fits, isControl, model, components }: InspectedAdapter): string {
  if (fits) return `${model}, with every key`;
  return isControl || components.length === 0 ? `not ${model}` : `${model}, only in part`;
}

function printAdapter(found: InspectedAdapter): string {
  const { components, problems } = found;
  return [
    table([
      [found.isControl ? "depth LoRA" : "LoRA", found.name],
      ["written by", found.writtenBy.join("; ") || "unknown"],
      ["file", found.path],
      ["sha256", found.sha256],
      ["size", describeBytes(found.bytes)],
      ["numbers", numbersOf(found)],
      ...(found.rankStabilized ? [["strength", "rank-stabilized: alpha / √rank"]] : []),
      ["fits", fitOf(found)],
    ]),
    ...(components.length > 0
      ? [
          table([
            ["component", "layers", "rank", "form"],
            ...components.map(({ name, layers, ranks, forms, replaced }) => [
              name,
              `${layers}`,
              ranks === null ? "" : ranks[0] === ranks[1] ? `${ranks[0]}` : `${ranks[0]} to ${ranks[1]}`,
              [
                ...Object.entries(forms).map(
                  ([form, count]) => `${formNames[form as keyof typeof formNames]} ${count}`,
                ),
                ...(replaced > 0 ? [`replaced parameters ${replaced}`] : []),
              ].join(", "),
            ]),
          ]),
        ]
      : []),
    ...(problems === null ? [] : [`Problems: ${printableLine(problems)}.\n`]),
  ].join("\n");
}

const formNames = {
  "low-rank": "LoRA",
  kronecker: "LoKr",
  hadamard: "LoHa",
  whole: "whole matrices",
  bias: "biases",
  dora: "with DoRA",
} as const;

/** The dtypes, largest share first. */
const numbersOf = ({ dtypes }: Pick<InspectedEstimator, "dtypes">): string => Object.keys(dtypes).join(", ");

/** Aligns rows in columns; the last column is not padded. */
function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row) => {
      const cells = row.map((cell, column) =>
        column === row.length - 1 ? printableLine(cell) : printableLine(cell).padEnd(widths[column]!),
      );
      return `${cells.join("  ")}\n`;
    })
    .join("");
}
