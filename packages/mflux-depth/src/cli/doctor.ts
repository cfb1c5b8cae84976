import { describeBytes } from "../bytes.js";
import { type Command, describeFlags, parseFlags, refusePositionals } from "../command/index.js";
import {
  type EstimatorReport,
  inspectMachine,
  type MachineReport,
  type MlxReport,
  type Problem,
} from "../doctor/machine-report.js";
import type { OptionTable } from "../options/index.js";
import { downloadCommand, reinstallCommands } from "./advice.js";
import { helpFlag, jsonFlag } from "./common-flags.js";

const flags = { json: jsonFlag("JSON"), help: helpFlag } as const satisfies OptionTable;

export const doctor: Command = {
  usage: `Usage: mflux-depth doctor [--json]

Reports the platform, MLX and its device, BLAS, memory, image codec and model folders, then lists problems and how to
fix them. The exit code is 1 when no image can be generated.

${describeFlags("Flags", flags)}`,
  async run(argv, io) {
    const { values, positionals } = parseFlags(flags, argv);
    refusePositionals(positionals);
    const report = await inspectMachine(io.env);
    const problems = report.problems.map(phrased);
    io.stdout.write(
      values.json ? `${JSON.stringify({ ...report, problems })}\n` : print({ ...report, problems }),
    );
    return problems.some(({ essential }) => essential) ? 1 : 0;
  },
};

interface PhrasedProblem extends Omit<Problem, "remedy"> {
  /** The remedy, in commands and flags. */
  readonly fix: string;
}

const phrased = ({ what, remedy, essential }: Problem): PhrasedProblem => ({
  what,
  fix: fixFor(remedy),
  essential,
});

/** A report with its remedies phrased. */
type PhrasedReport = Omit<MachineReport, "problems"> & {
  readonly problems: readonly PhrasedProblem[];
};

function fixFor(remedy: Problem["remedy"]): string {
  switch (remedy.kind) {
    case "download":
      return `nothing to do: generate downloads what it needs. To download now, run ${downloadCommand(remedy)}. Or use the bundled small model: --model tiny-world`;
    case "reinstall":
      return reinstallCommands[remedy.part];
    case "correct-variable":
      return `unset ${remedy.variable}, or correct it`;
  }
}

function print({
  version,
  node,
  platform,
  processor,
  memory,
  mlx,
  codec,
  models,
  problems,
}: PhrasedReport): string {
  const limit =
    memory.limitBytes === null ? "" : `, this process may use ${describeBytes(memory.limitBytes)}`;
  const rows: [string, string][] = [
    ["mflux-depth", version],
    ["Node.js", node],
    ["Platform", platform],
    ["Processor", `${processor.model}, ${processor.cores} cores`],
    ["Memory", `${describeBytes(memory.totalBytes)}, ${describeBytes(memory.freeBytes)} free${limit}`],
  ];
  if (mlx) {
    const { name, threads, proof, gflops } = mlx.blas;
    rows.push(
      ["MLX", `${mlx.version}, ${mlx.backend} backend, ${mlx.library}`],
      ["Device", `${mlx.device.type}, ${mlx.device.name}`],
      [
        "BLAS",
        `${name}, ${threads} threads, ${gflops.toFixed(0)} GFLOP/s; ${proof.calls} of ${proof.multiplications} multiplications went through it`,
      ],
    );
    if (mlx.kernels) {
      const {
        instructionSet,
        int8,
        depthInt8,
        processor: model,
        bfloat16AttentionSpeed: speed,
      } = mlx.kernels;
      const quantized = int8 ? "quantized layers with 8-bit inputs" : "everything in float32";
      rows.push(["CPU kernels", `${instructionSet}; ${quantized}`]);
      rows.push(["Depth estimation", depthInt8 ? "8 bits, most inputs too" : "float32"]);
      if (int8) rows.push(["Attention", attentionIn(speed, model)]);
    }
  } else rows.push(["MLX", "does not work"]);
  rows.push(["Images", codec ? `sharp ${codec.sharp}, libvips ${codec.vips}` : "sharp does not load"]);
  if (models) {
    rows.push(["Models in", models.cache]);
    for (const [name, value] of Object.entries(models.environment))
      if (value) rows.push([`  ${name}`, value]);
    for (const { name, folder } of models.found) rows.push([`  ${name}`, folder ?? "missing"]);
    rows.push(["Depth estimators", "for photos; choose one with --depth-model or MFLUX_DEPTH_DEPTH_MODEL"]);
    for (const estimator of models.estimators)
      rows.push([`  ${estimator.repository}`, estimatorRow(estimator)]);
  }
  const width = Math.max(...rows.map(([name]) => name.length));
  const facts = rows.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join("");
  if (problems.length === 0) return `${facts}\nNothing is missing.\n`;
  const list = problems.map(
    ({ what, fix, essential }) => `${essential ? "Broken" : "Missing"}: ${what}\n  Fix: ${fix}\n`,
  );
  return `${facts}\n${list.join("")}`;
}

const estimatorRow = ({ licence, bytes, cpuSeconds, folder, isDefault }: EstimatorReport): string =>
  [
    folder === null ? "not downloaded" : "here",
    `licence: ${licence}`,
    `${describeBytes(bytes)} in memory`,
    ...(cpuSeconds === null ? [] : [`${cpuSeconds} s per estimate on two CPU cores`]),
    ...(isDefault ? ["the default"] : []),
  ].join("; ");

/** The type that attention uses in a transformer with 8-bit inputs, and why. */
function attentionIn(
  speed: NonNullable<MlxReport["kernels"]>["bfloat16AttentionSpeed"],
  model: string,
): string {
  switch (speed) {
    case "faster":
      return `bfloat16, measured to be faster than float32 on this processor (${model})`;
    case "slower":
      return `float32, measured to be faster than bfloat16 on this processor (${model})`;
    case "unmeasured":
      return `float32; bfloat16 has not been measured on this processor (${model})`;
    case "unavailable":
      return "float32; this processor lacks AVX512-BF16";
  }
}
