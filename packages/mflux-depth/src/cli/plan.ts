import { describeBytes } from "../bytes.js";
import { type Command, describeFlags, parseFlags, pick, refusePositionals } from "../command/index.js";
import { judgeOfRequest } from "../depth/judge.js";
import type { MachineMemory } from "../memory/machine.js";
import type { MemoryPlan } from "../memory/plan.js";
import {
  type OptionTable,
  optionsFor,
  requestOptions,
  resolveLoadOptions,
  resolveRequest,
} from "../options/index.js";
import { flagsFor, withFlags } from "./advice.js";
import { helpFlag, jsonFlag, loadOptionsFrom, modelFlags } from "./common-flags.js";
import { checkBestOf, checkSeeds, generateFlags } from "./generate.js";

/** The options of a request that affect its memory. */
const requestFlags = optionsFor(requestOptions, "plan");

const { bestOf, judge } = generateFlags;
const imageFlags = { ...requestFlags, bestOf, judge };

const resultFlags = {
  json: jsonFlag("JSON, with sizes in bytes"),
  help: helpFlag,
} as const satisfies OptionTable;

/** Accepts every flag of `generate`, so that the same command lines can be planned. */
const flags = { ...generateFlags, ...resultFlags };

export const plan: Command = {
  usage: `Usage: mflux-depth plan [FLAGS]

Estimates the peak memory of each stage of a generation, and of scoring for --best-of, from configs and weight headers.
Compares it with this machine's memory, and lists settings that would fit. Accepts every flag of generate; those below
affect the plan. It loads and downloads nothing. The exit code is 1 when the generation would not fit.

${describeFlags("The image", imageFlags)}
${describeFlags("The model", modelFlags)}
${describeFlags("The result", resultFlags)}
Example: mflux-depth plan --model tiny-world --width 512 --height 512
`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(flags, argv, io.env);
    refusePositionals(positionals);
    const options = resolveLoadOptions({ ...loadOptionsFrom(pick(values, modelFlags)), offline: true });
    checkSeeds(values);
    checkBestOf(values);
    const given = pick(values, requestFlags);
    const request = resolveRequest({
      ...given,
      prompt: "any",
      // Images are not read, except for the size "auto"; assume a depth map unless a photo is given.
      ...(!given.image && !given.depthImage && { depthImage: "any", size: undefined }),
    });

    // Loads MLX's binding, which help does not need.
    const { planModel } = await import("../pipeline/plan.js");
    const made = await planModel(options, request, {
      judge: values.bestOf === undefined ? null : (values.judge ?? judgeOfRequest(request, options)),
    });
    io.stdout.write(values.json ? `${JSON.stringify(made)}\n` : print(made));
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
    ...stages.map(({ stage, ...sizes }) => [
      stage,
      ...[sizes.weights, sizes.work, sizes.peak].map(describeBytes),
    ]),
    ["at most", "", "", describeBytes(peak)],
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  const lines = rows.map((row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  "),
  );
  const fitting = alternatives.map((one) => `  ${flagsFor(one)}: ${describeBytes(one.peak)}`);
  const verdict = fits
    ? ["It fits."]
    : fitting.length > 0
      ? ["It does not fit. It would with:", ...fitting]
      : ["It does not fit, and neither would any smaller setting."];
  return [
    ...lines,
    "",
    describeMachine(machine),
    ...verdict,
    ...notes.map((note) => `Note: ${withFlags(note)}`),
    "",
  ].join("\n");
}

const describeMachine = ({ total, available, source }: MachineMemory): string =>
  `This machine has ${describeBytes(total)} of memory, of which ${describeBytes(available)} are available (${source}).`;
