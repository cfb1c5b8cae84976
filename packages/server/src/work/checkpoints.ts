import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { writeDurably } from "../data-folder/durable-file.js";
import { diskFull, type Reserve } from "../data-folder/reserve.js";

type Shape = readonly [number, number, number, number];

/** A state from which a generation can continue. */
export interface Checkpoint {
  /** The number of completed steps. */
  readonly step: number;
  /** Identifies everything that shapes the numbers. */
  readonly fingerprint: string;
  readonly latents: { readonly data: Float32Array; readonly shape: Shape };
  /**
   * When saving, null means unchanged since the attempt's last checkpoint. When read, null means that it must be made
   * again.
   */
  readonly depthMap: { readonly data: Float32Array; readonly width: number; readonly height: number } | null;
}

/**
 * Stores the latest checkpoint of each attempt as files, because they are large and change every second. Each attempt
 * writes its own files, so an old attempt that is still alive does no harm.
 */
export class Checkpoints {
  readonly #folder: string;
  readonly #reserve: Reserve;

  /** @param reserve space that checkpoints must leave for the ledger. */
  constructor(folder: string, reserve: Reserve) {
    this.#folder = folder;
    this.#reserve = reserve;
  }

  /** Makes the folder. */
  async open(): Promise<void> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
  }

  /**
   * Replaces the attempt's checkpoint. It is on the disk when the promise resolves.
   * @throws {ServiceError} `disk_full`, or the error of the file system; the previous checkpoint is kept.
   */
  async save(id: string, attempt: number, checkpoint: Checkpoint): Promise<void> {
    if (!(await this.#reserve.restore())) throw diskFull();
    const { step, fingerprint, latents, depthMap } = checkpoint;
    if (depthMap) {
      const { data, ...size } = depthMap;
      await writeDurably(this.#path(id, attempt, "depth"), packed(size, data));
    }
    const facts = { step, fingerprint, shape: latents.shape };
    await writeDurably(this.#path(id, attempt, "latents"), packed(facts, latents.data));
  }

  /** The latest undamaged checkpoint of any attempt; null if there is none. */
  async latest(id: string): Promise<Checkpoint | null> {
    const attempts = [...new Set((await this.#filesOf(id)).map((name) => Number(name.split(".")[1])))];
    for (const attempt of attempts.sort((a, b) => b - a)) {
      const main = await this.#read<{ step: number; fingerprint: string; shape: Shape }>(
        id,
        attempt,
        "latents",
      );
      if (!main) continue;
      const { shape, ...facts } = main.facts;
      const depth = await this.#read<{ width: number; height: number }>(id, attempt, "depth");
      return {
        ...facts,
        latents: { data: main.data, shape },
        depthMap: depth && { ...depth.facts, data: depth.data },
      };
    }
    return null;
  }

  /** Deletes the checkpoints of a job. */
  async remove(id: string): Promise<void> {
    for (const name of await this.#filesOf(id)) await rm(join(this.#folder, name), { force: true });
  }

  /**
   * Deletes the checkpoints of all jobs that are not kept.
   * @param isKept called right before each deletion, because jobs may begin meanwhile.
   */
  async keepOnly(isKept: (id: string) => boolean): Promise<void> {
    for (const name of await readdir(this.#folder))
      if (!isKept(name.split(".", 1)[0]!)) await rm(join(this.#folder, name), { force: true });
  }

  async #filesOf(id: string): Promise<string[]> {
    return (await readdir(this.#folder)).filter((name) => name.startsWith(`${id}.`));
  }

  #path(id: string, attempt: number, what: "latents" | "depth"): string {
    return join(this.#folder, `${id}.${attempt}.${what}`);
  }

  async #read<Facts>(
    id: string,
    attempt: number,
    what: "latents" | "depth",
  ): Promise<{ facts: Facts; data: Float32Array } | null> {
    const file = await readFile(this.#path(id, attempt, what)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return null;
      throw error;
    });
    return file && unpacked<Facts>(file);
  }
}

/** A line of JSON with facts and the hash of the values, then the values. */
function packed(facts: object, values: Float32Array): readonly Uint8Array[] {
  const content = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return [Buffer.from(`${JSON.stringify({ facts, sha256: hashOf(content) })}\n`), content];
}

/** @returns null for a file that is damaged. */
function unpacked<Facts>(file: Buffer): { facts: Facts; data: Float32Array } | null {
  const end = file.indexOf("\n");
  const content = file.subarray(end + 1);
  try {
    const { facts, sha256 } = JSON.parse(file.toString("utf8", 0, end)) as { facts: Facts; sha256: string };
    // Copied to be aligned for floats.
    return hashOf(content) === sha256
      ? { facts, data: new Float32Array(Uint8Array.from(content).buffer) }
      : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

const hashOf = (content: Uint8Array): string => createHash("sha256").update(content).digest("hex");
