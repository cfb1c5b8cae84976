/*
 * The prompt of the command line: from a flag, a file or standard input.
 */
import { createReadStream } from "node:fs";
import { addAbortSignal, type Readable } from "node:stream";
import { OptionError } from "../errors.js";
import type { Io } from "./command.js";

export interface PromptSource {
  /** The text, or "-" for standard input. */
  readonly prompt?: string | undefined;
  /** The path of a text file in UTF-8, or "-" for standard input. */
  readonly promptFile?: string | undefined;
}

/**
 * Reads the prompt.
 * @throws {OptionError} when there is none, more than one, or it cannot be read.
 * @throws the signal's reason, also while standard input is awaited.
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
  const stream = addAbortSignal(io.signal, given === "-" ? io.stdin : createReadStream(given));
  const text = await readText(stream).catch((error: unknown) => {
    throw new OptionError("promptFile", `--prompt-file ${source}: ${reasonOf(error)}.`, { cause: error });
  });
  const trimmed = text.replace(/^\ufeff/, "").trim();
  if (trimmed === "") throw new OptionError("prompt", `The prompt in ${source} is blank.`);
  return trimmed;
}

async function readText(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(Buffer.from(chunk as Uint8Array));
  return Buffer.concat(chunks).toString("utf8");
}

function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EISDIR") return "is a folder";
  return `cannot be read (${code ?? error})`;
}
