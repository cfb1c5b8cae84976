/* Reads the command line's prompt from a flag, a file or standard input. */

import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { addAbortSignal, type Readable } from "node:stream";
import type { Io } from "../command/index.js";
import { OptionError } from "../errors.js";

export interface PromptSource {
  /** The text, or "-" for standard input. */
  readonly prompt?: string | undefined;
  /** The path of a text file in UTF-8, or "-" for standard input. */
  readonly promptFile?: string | undefined;
}

/** The maximum number of bytes read: more than the longest prompt, with blank lines around it. */
const longestBytes = 2 ** 20;

/**
 * Reads the prompt, at most 1 MB from a file or standard input.
 * @throws {OptionError} if there is none or more than one, or if it is too long or unreadable.
 * @throws the signal's reason, even while waiting for standard input.
 */
export async function readPrompt({ prompt, promptFile }: PromptSource, io: Io): Promise<string> {
  if (prompt !== undefined && promptFile !== undefined)
    throw new OptionError("prompt", "Give either --prompt or --prompt-file, not both.", {
      code: "option-conflict",
    });
  const given = prompt ?? promptFile;
  if (given === undefined)
    throw new OptionError("prompt", "--prompt is missing: say what to draw.", { code: "option-missing" });
  if (prompt !== undefined && prompt !== "-") return prompt;
  const source = given === "-" ? "standard input" : given;
  const text = await (given === "-" ? readStream(io.stdin, io.signal) : readFile(given, io.signal)).catch(
    (error: unknown) => {
      io.signal.throwIfAborted();
      throw new OptionError("promptFile", `--prompt-file ${source}: ${reasonOf(error)}.`, { cause: error });
    },
  );
  const trimmed = text.trim();
  if (trimmed === "") throw new OptionError("prompt", `The prompt in ${source} is blank.`);
  return trimmed;
}

/** The reason for rejecting a prompt. */
class Refusal extends Error {}

async function readFile(path: string, signal: AbortSignal): Promise<string> {
  // Without O_NONBLOCK, opening a FIFO would wait for a writer and could not be interrupted.
  const file = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  try {
    await requireRegular(file);
    return await readStream(file.createReadStream({ autoClose: false }), signal);
  } finally {
    await file.close();
  }
}

async function requireRegular(file: FileHandle): Promise<void> {
  const status = await file.stat();
  if (status.isDirectory()) throw new Refusal("is a folder");
  if (!status.isFile())
    throw new Refusal("is not a regular file; pipe the prompt into --prompt-file - instead");
}

async function readStream(stream: Readable, signal: AbortSignal): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of addAbortSignal(signal, stream)) {
    chunks.push(Buffer.from(chunk as Uint8Array));
    bytes += chunks.at(-1)!.length;
    if (bytes > longestBytes) throw new Refusal("has more than 1 MB, which no prompt needs");
  }
  return decode(Buffer.concat(chunks));
}

/** The text of bytes in UTF-8, without a byte-order mark. */
function decode(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const mark = bytes.subarray(0, 2).toString("hex");
    throw new Refusal(
      `is not text in UTF-8${mark === "fffe" || mark === "feff" ? " but in UTF-16; save it as UTF-8" : ""}`,
    );
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return "there is no such file";
  return `cannot be read (${code ?? error})`;
}
