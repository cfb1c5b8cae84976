import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { type Area, type FuzzCase, Violation } from "../area.js";
import { packageFolder } from "../package-folder.js";
import type { Random } from "../random.js";

const map = join(packageFolder, "../../examples/images/cube_depth.png");
const photo = join(packageFolder, "../../examples/images/chelsea.jpg");

/** `worker` serves until its host disconnects. */
const commands = [
  "generate",
  "generate",
  "plan",
  "depth",
  "score",
  "save",
  "download",
  "info",
  "inspect",
  "doctor",
] as const;

const small = ["-m", "tiny-world", "--width", "64", "--height", "64", "--steps", "1"];
const useful: Readonly<Record<string, readonly string[]>> = {
  generate: [...small, "--prompt", "a cube", "--depth-image-path", map, "-o", "out.png"],
  plan: small.slice(0, 6),
  depth: ["--depth-model", "tiny-world", photo, "-o", "depth.png"],
  save: ["-m", "tiny-world", "--path", "saved"],
  info: [map],
  score: [photo, "--depth", map, "--depth-model", "tiny-world"],
  inspect: ["tiny-world"],
};

const values = [
  ...[
    "",
    " ",
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "4",
    "8",
    "64",
    "1e3",
    "1e300",
    "1e309",
    "0x10",
    "0.5",
    ".5",
    "1_000",
  ],
  ...[
    "NaN",
    "Infinity",
    "9".repeat(400),
    "none",
    "low",
    "png",
    "cpu",
    "gpu",
    "true",
    "null",
    "[]",
    "{}",
    "[z-a]*",
  ],
  ...[
    "tiny-world",
    "someone/nothing",
    "a/b/c",
    "..",
    "../up",
    "./here/",
    "missing.png",
    "out.png",
    "out.jpg",
    ".",
  ],
  ...[
    map,
    photo,
    `${map}/below`,
    "/",
    "/dev/null",
    "n".repeat(255),
    "n".repeat(5000),
    `${"d/".repeat(600)}x`,
  ],
  ...["--", "-", "-x", "--=", "é\u0301", "\u202eevil", "\u001b[31mred", "line\nbreak", "tab\there", "😀"],
];

/** All flags in a command's help. */
async function flagsOf(command: string): Promise<string[]> {
  const { stdout } = await runCommand([command, "--help"]);
  return [...new Set(stdout.match(/(?<![\w-])--?[a-z][a-z0-9-]*/g) ?? [])];
}

function makeCase(flags: ReadonlyMap<string, readonly string[]>, random: Random): FuzzCase {
  const command = random.oneIn(20) ? random.pick(values) : random.pick(commands);
  const words: string[] = random.oneIn(4) ? [] : [...(useful[command] ?? [])];
  const known = flags.get(command) ?? ["--prompt"];
  for (let left = random.below(6); left > 0; left--) {
    const flag = random.oneIn(12) ? `--${random.pick(values)}` : random.pick(known);
    const value = random.pick(values);
    const form = random.below(4);
    const added = form === 0 ? [flag] : form === 1 ? [`${flag}=${value}`] : [flag, value];
    words.splice(random.below(words.length + 1), 0, ...added);
  }
  if (words.length > 0 && random.oneIn(6)) words.splice(random.below(words.length), 1);
  return { input: Buffer.from([command, ...words].join("\0")), parameters: {} };
}

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** `main` of the command line, which the package does not export. */
interface CommandLine {
  readonly main: (argv: readonly string[], io: object) => Promise<number>;
}

/** Runs a command line in this process, and stops it after some seconds, as Ctrl-C would. */
async function runCommand(argv: readonly string[]): Promise<Ended> {
  const { main } = (await import(join(packageFolder, "dist/src/cli/main.js"))) as CommandLine;
  const read = (stream: PassThrough): string => (stream.read() as Buffer | null)?.toString() ?? "";
  const [stdout, stderr, stdin] = [0, 1, 2].map(() => new PassThrough({ highWaterMark: 2 ** 24 }));
  stdin!.end();
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new Error("long enough")), 3000);
  const env = { ...process.env, HF_HUB_OFFLINE: "1", HF_HOME: join(process.cwd(), "hf") };
  const running = main(argv, {
    stdin: stdin!,
    stdout: stdout!,
    stderr: stderr!,
    env,
    signal: controller.signal,
  });
  const code = await Promise.race([running, sleep(8000, null, { ref: false })]);
  clearTimeout(timer);
  if (code === null) throw new Violation("the command goes on after it was aborted");
  return { code, stdout: read(stdout!), stderr: read(stderr!) };
}

function check({ code, stdout, stderr }: Ended, argv: readonly string[]): void {
  if (![0, 1, 2, 130].includes(code)) throw new Violation(`the exit code is ${code}`);
  if ((code === 1 || code === 2) && stderr.trim() === "" && argv[0] !== "doctor")
    throw new Violation(`exit code ${code} comes without a message`);
  const internal = /Unexpected error|^\s+at .+:\d+:\d+|\[object Object\]|Cannot read propert/m.exec(stderr);
  if (internal) throw new Violation(`a message is internal: ${stderr.slice(0, 300)}`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be printed.
  if (/[\u0000-\u0008\u000b-\u001f\u007f]/.test(stderr))
    throw new Violation("a message has control characters");
  if (stderr.length > 20_000) throw new Violation(`messages have ${stderr.length} characters`);
  if (
    code === 0 &&
    argv.includes("--json") &&
    !argv.includes("--help") &&
    !argv.includes("-h") &&
    stdout.trim() !== ""
  )
    for (const line of stdout.trim().split("\n")) JSON.parse(line);
}

/** Command lines. */
export const flags: Area = {
  limits: { seconds: 20, bytes: 2.5e9 },
  split: (input) =>
    Buffer.from(input)
      .toString()
      .split("\0")
      .map((word, i) => Buffer.from(i === 0 ? word : `\0${word}`)),
  async prepare() {
    const known = new Map<string, string[]>();
    for (const command of new Set(commands)) known.set(command, await flagsOf(command));
    return (random) => makeCase(known, random);
  },
  async open(folder) {
    return async ({ input }) => {
      const work = join(folder, "outer", "work");
      rmSync(join(folder, "outer"), { recursive: true, force: true });
      mkdirSync(work, { recursive: true });
      process.chdir(work);
      const argv = Buffer.from(input).toString().split("\0");
      check(await runCommand(argv), argv);
    };
  },
};
