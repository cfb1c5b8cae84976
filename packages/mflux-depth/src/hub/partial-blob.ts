import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";
import type { HubFile } from "./client.js";

/** The beginning of a file that is being downloaded, with its hash so far. */
export class PartialBlob {
  readonly #handle: FileHandle;
  readonly #file: HubFile;
  #hash: Hash;
  #bytes = 0;

  private constructor(handle: FileHandle, file: HubFile) {
    this.#handle = handle;
    this.#file = file;
    this.#hash = hashFor(file);
  }

  /** Continues an earlier download in the file of `handle`, which is read to hash it. */
  static async open(
    handle: FileHandle,
    file: HubFile,
    signal: AbortSignal | undefined,
  ): Promise<PartialBlob> {
    const partial = new PartialBlob(handle, file);
    const { size } = await handle.stat();
    if (size > file.bytes) await partial.restart();
    else await partial.#hashExisting(size, signal);
    return partial;
  }

  /** The number of bytes on this machine. */
  get bytes(): number {
    return this.#bytes;
  }

  async append(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length; ) {
      const { bytesWritten } = await this.#handle.write(chunk, done, chunk.length - done, this.#bytes + done);
      done += bytesWritten;
    }
    this.#hash.update(chunk);
    this.#bytes += chunk.length;
  }

  /** Discards all bytes. */
  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.#hash = hashFor(this.#file);
    this.#bytes = 0;
  }

  matchesHash(): boolean {
    return this.#hash.copy().digest("hex") === this.#file.etag;
  }

  async #hashExisting(size: number, signal: AbortSignal | undefined): Promise<void> {
    const buffer = Buffer.alloc(Math.min(size, 1 << 20));
    while (this.#bytes < size) {
      signal?.throwIfAborted();
      const { bytesRead } = await this.#handle.read(buffer, 0, buffer.length, this.#bytes);
      if (bytesRead === 0) break;
      this.#hash.update(buffer.subarray(0, bytesRead));
      this.#bytes += bytesRead;
    }
  }
}

/** LFS identifies a file by its SHA-256, git by the SHA-1 of a header and the content. */
const hashFor = ({ lfs, bytes }: HubFile): Hash =>
  lfs ? createHash("sha256") : createHash("sha1").update(`blob ${bytes}\0`);
