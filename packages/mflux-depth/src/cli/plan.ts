import { describeBytes } from "../bytes.js";
import type { MachineMemory } from "../memory/machine.js";
import type { MemoryPlan } from "../memory/plan.js";
import {
  type GenerateRequest,
  type LoadOptions,
  loadOptions,
  type OptionSpec,
  requestOptions,
  resolveLoadOptions,
  resolveRequest,
} from "../options/index.js";
import { flagsFor } from "./advice.js";
import type { Command } from "./command.js";
import { describeFlags, helpFlag, parseFlags, refusePositionals } from "./flags.js";

const planFlags = {
  lowRam: { kind: { type: "boolean" }, text: "The same as --memory low.", flags: ["--low-ram"] },
  json: { kind: { type: "boolean" }, text: "Print JSON, sizes in bytes.", flags: ["--json"] },
} as const satisfies Record<string, OptionSpec>;

const table = { ...requestOptions, ...loadOptions, ...planFlags, help: helpFlag };

/** The request's options that change how much memory it takes. */
const counted = ["image", "depthImage", "imageStrength", "width", "height", "maxSequenceLength"] as const;

interface Run {
  readonly lowRam?: boolean;
  readonly json?: boolean;
}

export const plan: Command = {
  name: "plan",
  summary: "Say how much memory a generation would take, without loading anything",
  usage: `Usage: mflux-depth plan [FLAGS]

Estimates the memory that each stage of a generation takes at its worst, from configs and the headers of the weights,
beside what this machine has, and names settings that would fit. Takes the flags of generate; nothing is loaded or
downloaded. The exit code is 1 when the generation would not fit.

${describeFlags("The picture", Object.fromEntries(counted.map((name) => [name, requestOptions[name]])))}
${describeFlags("The model", loadOptions)}
${describeFlags("The result", { ...planFlags, help: helpFlag })}
Example: mflux-depth plan --model tiny-world --width 512 --height 512
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(table, argv, io.env);
    refusePositionals(positionals);
    const { lowRam, json }: Run = values;
    const load: LoadOptions = {
      ...Object.fromEntries(Object.keys(loadOptions).map((name) => [name, values[name]])),
      ...(lowRam && { memory: "low" }),
      offline: true,
    };
    const options = resolveLoadOptions(load);
    const given: Partial<GenerateRequest> = Object.fromEntries(counted.map((name) => [name, values[name]]));
    const request = resolveRequest({
      ...given,
      prompt: "any",
      // Pictures are not looked at: a map unless a photo is named.
      ...(!given.image && !given.depthImage && { depthImage: "any" }),
    });

    // Loads MLX's binding, so not for help.
    const { planModel } = await import("../pipeline/plan.js");
    const made = await planModel(options, request);
    io.stdout.write(json ? `${JSON.stringify(made)}\n` : print(made));
    return made.fits ? 0 : 1;
  },
};

function print({
  stages,
  peak,
  machine,
  fits,
  alternatives,
  notes,
}: MemoryPlan & { notes: readonly string[] }): string {
  const rows = [
    ["stage", "weights", "work", "peak"],
    ...stages.map((one) => [
      one.stage,
      describeBytes(one.weights),
      describeBytes(one.work),
      describeBytes(one.peak),
    ]),
    ["at most", "", "", describeBytes(peak)],
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  "),
  );
  const would = alternatives.map((one) => `  ${flagsFor(one)}: ${describeBytes(one.peak)}`);
  const verdict = fits
    ? ["It fits."]
    : would.length > 0
      ? ["It does not fit. It would with:", ...would]
      : ["It does not fit, and no smaller setting would."];
  return [
    ...lines,
    "",
    describeMachine(machine),
    ...verdict,
    ...notes.map((note) => `Note: ${note}`),
    "",
  ].join("\n");
}

const describeMachine = ({ total, available, source }: MachineMemory): string =>
  `This machine has ${describeBytes(total)}, ${describeBytes(available)} of them available (${source}).`;
