import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { after } from "node:test";
import sharp from "sharp";
import { main } from "../../src/cli/main.js";
import { at } from "./tensors.js";

/** The executable. */
export const bin = at("bin/mflux-depth.js");
/** A depth map to generate from. */
export const map = at("../../examples/images/portrait_depth.png");

/** The arguments of a small, fast generation, without a prompt and a depth map. */
export const smallImage = [
  ...["generate", "-m", "tiny-world", "-q", "none"],
  ...["--width", "64", "--height", "64", "--steps", "2"],
];
/** The arguments of a small, fast generation. */
export const smallRequest = [...smallImage, "--prompt", "a gold portrait", "--depth-image-path", map];

/** The pixels of an image. */
export const pixels = async (file: string | Uint8Array): Promise<Buffer> => sharp(file).raw().toBuffer();

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: Record<string, string>;
  /** A program to run instead of the executable. */
  readonly program?: string;
  /** Receives standard error so far each time more arrives; may send a signal. */
  readonly watch?: (stderr: string, kill: (signal: NodeJS.Signals) => void) => void;
}

export interface CallOptions {
  readonly input?: string;
  readonly env?: Record<string, string>;
  readonly signal?: AbortSignal;
}

/**
 * Runs the command line in this process and its current folder: much faster than a process, and enough for tests of streams
 * and exit codes.
 */
export async function call(argv: readonly string[], options: CallOptions = {}): Promise<Outcome> {
  const said = { stdout: "", stderr: "" };
  const collector = (name: keyof typeof said): Writable =>
    new Writable({
      write(chunk, _, done) {
        said[name] += chunk;
        done();
      },
    });
  const code = await main(argv, {
    stdin: Readable.from(options.input ? [Buffer.from(options.input)] : []),
    stdout: collector("stdout"),
    stderr: collector("stderr"),
    env: options.env ?? {},
    signal: options.signal ?? new AbortController().signal,
  });
  return { code, ...said };
}

/** Runs the command line in a temporary folder for one test file. */
export class CommandLine {
  readonly folder: string;

  /** Makes the folder, which is removed after the tests of the file. */
  constructor() {
    this.folder = mkdtempSync(join(tmpdir(), "mflux-depth-cli-"));
    const home = process.cwd();
    after(() => {
      process.chdir(home);
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  at = (name: string): string => join(this.folder, name);

  /** Runs the command line in this process; see {@link call}. Makes the folder the current one. */
  call = (argv: readonly string[], options: CallOptions = {}): Promise<Outcome> => {
    process.chdir(this.folder);
    return call(argv, options);
  };

  /** Runs the command line as a process until it ends. */
  run = (argv: readonly string[], options: RunOptions = {}): Promise<Outcome> => {
    const child = spawn(process.execPath, [options.program ?? bin, ...argv], {
      cwd: this.folder,
      env: { ...process.env, ...options.env },
    });
    let [stdout, stderr] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
      options.watch?.(stderr, (signal) => child.kill(signal));
    });
    // The process may end before it has read everything.
    child.stdin.on("error", () => {}).end(options.input ?? "");
    return new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code) => resolve({ code, stdout, stderr }));
    });
  };
}
