import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import sharp from "sharp";
import { type Area, type FuzzCase, Violation } from "../area.js";
import { packageFolder } from "../package-folder.js";
import type { Random } from "../random.js";

const map = join(packageFolder, "../../examples/images/cube_depth.png");
const photo = join(packageFolder, "../../examples/images/chelsea.jpg");
const executable = join(packageFolder, "bin/mflux-depth.js");

const tiny = ["-m", "tiny-world", "--prompt", "a cube", "--seed", "1"];

/** Commands that write files, each long enough to be stopped at any moment. */
const commands: readonly (readonly string[])[] = [
  ["generate", ...tiny, "--width", "256", "--height", "256", "--steps", "4", "--depth-image-path", map],
  ["generate", ...tiny, "--width", "512", "--height", "512", "--steps", "1", "--image-path", photo],
  [
    "generate",
    ...tiny,
    "--width",
    "64",
    "--height",
    "64",
    "--steps",
    "1",
    "--depth-image-path",
    map,
    "--metadata",
  ],
  ["depth", "--depth-model", "tiny-world", photo],
];
const outputs: Readonly<Record<string, readonly string[]>> = {
  generate: ["-o", "out.png"],
  depth: ["-o", "out.png"],
  save: ["--path", "saved"],
};
const saving = ["save", "-m", "tiny-world"];

/** One signal, and the milliseconds before it. */
type Sent = readonly [after: number, signal: "SIGINT" | "SIGTERM" | "SIGHUP"];

interface Plan {
  readonly argv: readonly string[];
  readonly signals: readonly Sent[];
}

function makeCase(random: Random): FuzzCase {
  const command = random.oneIn(5) ? saving : random.pick(commands);
  const first = random.pick(["SIGINT", "SIGINT", "SIGTERM", "SIGHUP"] as const);
  const signals: Sent[] = [[random.below(2500), first]];
  while (random.oneIn(2)) signals.push([random.below(200), random.pick(["SIGINT", "SIGTERM"])]);
  const plan: Plan = { argv: [...command, ...outputs[command[0]!]!], signals };
  return { input: Buffer.from(JSON.stringify(plan)), parameters: {} };
}

/** Far more than the promised second, because this machine may be busy. */
const patienceMs = 10_000;

/** The exit codes of a command that ended normally, and of one stopped by a signal. */
const exitCodes = [0, 129, 130, 143];

/** Signals at any moment of a command. */
export const signals: Area = {
  limits: { seconds: 60, bytes: 2.5e9 },
  // A schedule cannot be reduced byte by byte.
  split: (input) => [input],
  prepare: async () => makeCase,
  async open(folder) {
    return async ({ input }) => {
      const { argv, signals: sent } = JSON.parse(Buffer.from(input).toString()) as Plan;
      const work = join(folder, "work");
      rmSync(work, { recursive: true, force: true });
      mkdirSync(work);
      const child = spawn(process.execPath, [executable, ...argv], {
        cwd: work,
        stdio: ["ignore", "ignore", "pipe"],
      });
      let stderr = "";
      child.stderr.on("data", (chunk: Buffer) => {
        stderr += chunk.toString();
      });
      // Standard error closes once the command and everything that it started have ended.
      const closed = once(child, "close") as Promise<[code: number | null, signal: string | null]>;
      for (const [after, signal] of sent) {
        await Promise.race([sleep(after), closed]);
        child.kill(signal);
      }
      const ended = await Promise.race([closed, sleep(patienceMs, null, { ref: false })]);
      child.kill("SIGKILL");
      if (ended === null) throw new Violation(`it still runs ${patienceMs / 1000} s after the last signal`);
      await check(work, ended, stderr);
    };
  },
};

/** @throws {Violation} for a wrong exit code, an internal message, or leftovers. */
async function check(
  work: string,
  [code, signal]: readonly [code: number | null, signal: string | null],
  stderr: string,
): Promise<void> {
  // Before the command listens, signals end the process in the usual way.
  if (code === null ? signal === "SIGKILL" : !exitCodes.includes(code))
    throw new Violation(`it ends with ${signal ?? `exit code ${code}`}: ${stderr.slice(-300)}`);
  if (/Unexpected error|^\s+at .+:\d+:\d+/m.test(stderr))
    throw new Violation(`a message is internal: ${stderr.slice(0, 300)}`);
  for (const name of readdirSync(work)) {
    if (/partial/.test(name)) throw new Violation(`it leaves ${name}`);
    if (name === "out.png") await requireWhole(join(work, name));
  }
}

async function requireWhole(file: string): Promise<void> {
  await sharp(readFileSync(file))
    .raw()
    .toBuffer()
    .catch((error: Error) => {
      throw new Violation(`its image is damaged: ${error.message}`);
    });
}
