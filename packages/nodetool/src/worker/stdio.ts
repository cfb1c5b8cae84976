import { once } from "node:events";
import type { Readable, Writable } from "node:stream";
import { encodeFrame } from "./frames.js";
import type { Worker } from "./worker.js";

/** The line on standard error that the host waits for. */
const readyLine = "NODETOOL_STDIO_READY\n";

/** Requests of the host wait while more than this many bytes of its answers are unread. */
const mostUnread = 2 ** 20;

/**
 * Serves one host over pipes. Each frame is preceded by its length, four bytes big-endian.
 * @returns when the host has closed its end, or sent a length that makes the rest unreadable.
 */
export async function serveStdio(
  worker: Worker,
  { stdin, stdout, stderr }: { stdin: Readable; stdout: Writable; stderr: Writable },
  { frameLimit, signal }: { frameLimit: number; signal: AbortSignal },
): Promise<void> {
  const send = (payload: Uint8Array): void => {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(payload.byteLength);
    stdout.write(header);
    stdout.write(payload);
  };
  const connection = worker.connect(send);
  const frames = new FrameReader(frameLimit);
  const stop = (): void => void stdin.destroy();
  signal.addEventListener("abort", stop, { once: true });
  // The host may exit without closing its end.
  stdout.on("error", stop);
  stderr.write(readyLine);
  try {
    for await (const chunk of stdin) {
      for (const payload of frames.read(chunk as Buffer)) connection.receive(payload);
      await readByHost(stdout, signal);
      if (frames.refused !== null) {
        send(encodeFrame("error", null, { error: frames.refused }));
        return;
      }
    }
    if (frames.pending > 0)
      stderr.write(`The host's last frame was cut off (${frames.pending} bytes of it came).\n`);
  } catch (error) {
    if (!signal.aborted && !stdin.destroyed) throw error;
  } finally {
    signal.removeEventListener("abort", stop);
    connection.close();
  }
}

/** Resolves when the host has read most of its answers or has disconnected. */
async function readByHost(stdout: Writable, signal: AbortSignal): Promise<void> {
  if (stdout.writableLength > mostUnread) await once(stdout, "drain", { signal }).catch(() => {});
}

/** Splits a stream of bytes into frames. */
export class FrameReader {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #size = 0;
  #refused: string | null = null;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Why the rest of the stream is unreadable: a frame is too long, or these are not frames. */
  get refused(): string | null {
    return this.#refused;
  }

  /** The number of bytes of the incomplete frame. */
  get pending(): number {
    return this.#size;
  }

  /** The frames completed by this chunk. */
  *read(chunk: Buffer): Generator<Uint8Array, void> {
    this.#chunks.push(chunk);
    this.#size += chunk.byteLength;
    while (this.#refused === null && this.#size >= 4) {
      const length = this.#peekLength();
      if (length > this.#limit) {
        this.#refused = `A frame of ${length} bytes was announced; frames may have ${this.#limit} (NODETOOL_BRIDGE_MAX_FRAME_SIZE).`;
        return;
      }
      if (this.#size < 4 + length) return;
      const all = this.#whole();
      this.#chunks = [all.subarray(4 + length)];
      this.#size -= 4 + length;
      yield all.subarray(4, 4 + length);
    }
  }

  #peekLength(): number {
    if (this.#chunks[0]!.byteLength < 4) this.#chunks = [this.#whole()];
    return this.#chunks[0]!.readUInt32BE();
  }

  #whole(): Buffer {
    return this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
  }
}
