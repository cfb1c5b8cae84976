/*
 * Tokens of workers on other machines: a file with a name and a token on each line. The file is read again when it
 * changes, so deleting a line revokes its token immediately.
 */
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";

/** A line that is not a comment: the name of a worker, and its token. */
const entry = /^([A-Za-z0-9][\w.-]{0,62})\s+([\x21-\x7e]{16,})$/;

export class WorkerTokens {
  readonly #file: string;
  readonly #onProblem: (message: string, error: unknown) => void;
  /** Names by the hash of the token; looking up a hash reveals nothing about a token. */
  #names: ReadonlyMap<string, string> = new Map();
  #version = "";

  /**
   * @param onProblem called when the file becomes unusable; all tokens are then refused.
   * @throws {Error} with a sentence, if the file is unusable at the start.
   */
  constructor(file: string, onProblem: (message: string, error: unknown) => void) {
    this.#file = file;
    this.#onProblem = onProblem;
    this.#version = this.#currentVersion();
    this.#names = namesIn(readFileSync(file, "utf8"));
  }

  /** The name that belongs to a token; null if there is none. */
  nameOf(token: string): string | null {
    this.#readIfChanged();
    return this.#names.get(hashOf(token)) ?? null;
  }

  #readIfChanged(): void {
    try {
      const version = this.#currentVersion();
      if (version === this.#version) return;
      this.#version = version;
      this.#names = namesIn(readFileSync(this.#file, "utf8"));
    } catch (error) {
      if (this.#names.size > 0) this.#onProblem("The file with the tokens of workers cannot be used.", error);
      this.#names = new Map();
    }
  }

  #currentVersion(): string {
    const { ino, mtimeNs, size } = statSync(this.#file, { bigint: true });
    return `${ino} ${mtimeNs} ${size}`;
  }
}

/** @throws {Error} with a sentence that names the line. */
function namesIn(text: string): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.trimStart().startsWith("#")) continue;
    const [, name, token] = entry.exec(line.trim()) ?? [];
    if (name === undefined || token === undefined)
      throw new Error(
        `Line ${index + 1} must be a name and a token of at least 16 characters, such as: gpu-1 $(openssl rand -hex 32)`,
      );
    if (names.has(hashOf(token))) throw new Error(`Line ${index + 1} repeats the token of another line.`);
    names.set(hashOf(token), name);
  }
  return names;
}

const hashOf = (token: string): string => createHash("sha256").update(token).digest("hex");
