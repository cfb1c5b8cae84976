import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { describe, test } from "node:test";
import { type PromptSource, readPrompt } from "../../src/cli/prompt.js";
import type { Io } from "../../src/command/command.js";
import { OptionError } from "../../src/errors.js";
import { folderPerTest } from "../support/folders.js";

const currentFolder = folderPerTest("prompt");

const read = (
  source: PromptSource,
  { stdin = Readable.from([]), signal = new AbortController().signal }: Partial<Io> = {},
): Promise<string> =>
  readPrompt(source, { stdin, signal, stdout: new PassThrough(), stderr: new PassThrough(), env: {} });

/** The path of a file with a text. */
function fileWith(text: string | Uint8Array): string {
  const path = join(currentFolder(), "prompt.txt");
  writeFileSync(path, text);
  return path;
}

const refuse = (source: PromptSource, message: RegExp, io: Partial<Io> = {}): Promise<void> =>
  assert.rejects(read(source, io), (error) => error instanceof OptionError && message.test(error.message));

/** Bytes without end, and how many have been read. */
function endless(): { stream: Readable; bytes: () => number } {
  let bytes = 0;
  const chunk = Buffer.alloc(1 << 16, "x");
  const stream = new Readable({
    read() {
      bytes += chunk.length;
      this.push(chunk);
    },
  });
  return { stream, bytes: () => bytes };
}

describe("the prompt of a file", () => {
  test("is read without a byte-order mark and spaces around it", async () => {
    assert.equal(await read({ promptFile: fileWith("\ufeff a cube: 日本\n\n") }), "a cube: 日本");
  });

  test("may have a lot of blank lines after it", async () => {
    assert.equal(await read({ promptFile: fileWith(`a cube${"\n".repeat(100_000)}`) }), "a cube");
  });

  test("is refused in UTF-16, as PowerShell's > writes it", async () => {
    const little = Buffer.from("\ufeffa cube\n", "utf16le");
    for (const bytes of [little, Buffer.from(little).swap16()])
      await refuse(
        { promptFile: fileWith(bytes) },
        /prompt\.txt: is not text in UTF-8 but in UTF-16; save it as UTF-8\.$/,
      );
  });

  test("is refused in Latin-1", () =>
    refuse({ promptFile: fileWith(Buffer.from("caf\xe9", "latin1")) }, /is not text in UTF-8\.$/));

  test("is refused beyond 1 MB", () =>
    refuse({ promptFile: fileWith("x".repeat(2 ** 20 + 1)) }, /more than 1 MB/));

  test(
    "is refused at once if the file has no end",
    {
      skip: process.platform === "win32" ? "has no /dev/zero" : false,
    },
    () => refuse({ promptFile: "/dev/zero" }, /\/dev\/zero: is not a regular file; pipe/),
  );

  test("is refused at once if the file is a FIFO without a writer", {
    skip: process.platform === "win32" ? "has no FIFOs" : false,
  }, async () => {
    const fifo = join(currentFolder(), "fifo");
    execFileSync("mkfifo", [fifo]);
    await refuse({ promptFile: fifo }, /fifo: is not a regular file/);
  });

  test("is refused if the file is a folder", () => refuse({ promptFile: currentFolder() }, /is a folder/));
});

describe("the prompt on standard input", () => {
  test("is read to its end", async () => {
    const stdin = Readable.from([Buffer.from("a gold "), Buffer.from("cube\n")]);
    assert.equal(await read({ promptFile: "-" }, { stdin }), "a gold cube");
  });

  test("is refused after 1 MB, without reading on", async () => {
    const { stream, bytes } = endless();
    await refuse({ prompt: "-" }, /standard input: has more than 1 MB/, { stdin: stream });
    assert.ok(stream.destroyed && bytes() < 2 ** 21, `${bytes()} bytes read`);
  });

  test("is no longer awaited after an abort, whose reason it rejects with", async () => {
    const controller = new AbortController();
    const reason = new Error("enough");
    const waiting = read({ prompt: "-" }, { stdin: new PassThrough(), signal: controller.signal });
    controller.abort(reason);
    await assert.rejects(waiting, (error) => error === reason);
  });
});
