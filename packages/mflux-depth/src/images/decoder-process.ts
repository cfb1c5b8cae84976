import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { untilAborted } from "../abort.js";
import { ImageError, restoreError } from "../errors.js";
import { withoutSecrets } from "../secrets.js";
import type { DecodedHeader, DecodeOrder, FromDecoder } from "./decoder-protocol.js";
import type { LevelSink } from "./levels.js";

/**
 * The largest images take half a minute on a slow machine; only a file that is read very slowly takes longer than this.
 */
const mostSeconds = 300;

const tooSlow = (name: string): ImageError =>
  new ImageError(
    name,
    `could not be read and decoded within ${mostSeconds} s; copy the file to a local disk.`,
  );

/**
 * Decodes an image in a separate process, which the signal kills. The pixels are written to a sink as they arrive.
 * @param input a path, or the encoded bytes
 * @param sinkOf makes the sink for the pixels
 * @throws {ImageError} when the image cannot be decoded.
 * @throws {MemoryError} when decoding it needs more memory than there is.
 * @throws the signal's reason when it is aborted.
 */
export async function decodeInProcess<Sink extends LevelSink>(
  input: string | Uint8Array,
  { name, role }: Omit<DecodeOrder, "input">,
  sinkOf: (header: DecodedHeader) => Sink,
  signal: AbortSignal | undefined,
): Promise<{ readonly header: DecodedHeader; readonly sink: Sink }> {
  signal?.throwIfAborted();
  const slow = new AbortController();
  const timer = setTimeout(() => slow.abort(tooSlow(name)), mostSeconds * 1000);
  const child = fork(fileURLToPath(new URL("./decoder-host.js", import.meta.url)), [], {
    execArgv: [],
    serialization: "advanced",
    stdio: ["pipe", "pipe", "ignore", "ipc"],
    // It processes untrusted files.
    env: withoutSecrets(process.env),
  });
  try {
    const received = receive(child, input, { name, role }, sinkOf);
    return await untilAborted(untilAborted(received, slow.signal), signal);
  } finally {
    clearTimeout(timer);
    child.kill("SIGKILL");
  }
}

async function receive<Sink extends LevelSink>(
  child: ChildProcess,
  input: string | Uint8Array,
  { name, role }: Omit<DecodeOrder, "input">,
  sinkOf: (header: DecodedHeader) => Sink,
): Promise<{ readonly header: DecodedHeader; readonly sink: Sink }> {
  const ended = once(child, "exit").then(
    ([code, signal]) => {
      throw new ImageError(name, `its decoder ended unexpectedly (${signal ?? `exit code ${code}`}).`);
    },
    (error: Error) => {
      throw new ImageError(name, `its decoder could not be started (${error.message}).`, { cause: error });
    },
  );
  // Only awaited while something is expected from the process.
  ended.catch(() => {});
  // Without free file descriptors there is no channel either.
  if (child.pid === undefined) return await ended;
  const answered = new Promise<FromDecoder>((resolve) => child.once("message", resolve));
  const order: DecodeOrder = {
    input: typeof input === "string" ? input : input.byteLength,
    name,
    role,
  };
  child.send(order, () => {});
  // The process may refuse the image, or be killed, before it has read everything.
  child.stdin!.on("error", () => {});
  child.stdin!.end(typeof input === "string" ? "" : input);

  const answer = await Promise.race([answered, ended]);
  if (answer.type === "error") throw restoreError(answer.error);
  const { header } = answer;
  const sink = sinkOf(header);
  await writePixels(child.stdout!, header, sink, name);
  return { header, sink };
}

/** Passes on the bytes of whole pixels; the rest of a chunk waits for the next one. */
async function writePixels(
  stdout: AsyncIterable<Buffer>,
  { width, height, channels, deep }: DecodedHeader,
  sink: LevelSink,
  name: string,
): Promise<void> {
  const pixelBytes = channels * (deep ? 2 : 1);
  let missing = width * height * pixelBytes;
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of stdout) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    const whole = bytes.length - (bytes.length % pixelBytes);
    sink.write(deep ? shorts(bytes, whole) : bytes.subarray(0, whole));
    rest = bytes.subarray(whole);
    missing -= chunk.length;
  }
  if (missing !== 0) throw new ImageError(name, "its decoder ended unexpectedly.");
}

/** 16-bit values, copied if they are not aligned. */
function shorts(bytes: Buffer, length: number): Uint16Array {
  const { buffer, byteOffset } = bytes;
  return byteOffset % 2 === 0
    ? new Uint16Array(buffer, byteOffset, length / 2)
    : new Uint16Array(buffer.slice(byteOffset, byteOffset + length) as ArrayBuffer);
}
