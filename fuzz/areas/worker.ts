import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { pack, unpack } from "msgpackr";
import { type Area, type FuzzCase, Violation } from "../area.js";
import { mutateBytes, mutateJson } from "../mutate.js";
import type { Random } from "../random.js";
import { smallRequest } from "../small-request.js";

type Transport = "pipes" | "websocket";

interface Frame {
  readonly type: string;
  readonly request_id: string | null;
  readonly data: Readonly<Record<string, unknown>>;
}

const execution = (fields: object, more: object = {}): Frame => ({
  type: "execute",
  request_id: "run",
  data: {
    node_type: "mlx.image_to_image.MFluxDepth",
    fields: {
      prompt: smallRequest.prompt,
      model: { type: "hf.flux_depth", repo_id: "tiny-world", path: null, variant: null },
      quantize: null,
      ...{ width: 256, height: 256, steps: 1, seed: 7 },
      image: { type: "image", uri: "", asset_id: null, data: null },
      ...fields,
    },
    secrets: {},
    blobs: {},
    ...more,
  },
});

/** Frames that a host sends. */
const seeds: readonly Frame[] = [
  { type: "discover", request_id: "a", data: {} },
  { type: "worker.status", request_id: "b", data: {} },
  { type: "cancel", request_id: "run", data: {} },
  { type: "models.list_cached", request_id: "c", data: {} },
  { type: "models.download", request_id: "d", data: { repo_id: "a/b", allow_patterns: ["*"], token: "t" } },
  { type: "models.delete", request_id: "e", data: { repo_id: "a/b" } },
  { type: "models.evict", request_id: "f", data: { node_ids: ["n"], job_id: "j", target_vram_gb: 1 } },
  { type: "job.start", request_id: "g", data: { job_id: "j" } },
  { type: "job.end", request_id: "h", data: { job_id: "j", reason: "completed" } },
  execution({ depth_image: { type: "image", data: "iVBORw0KGgo=" } }),
  execution({}, { blobs: { depth_image: new Uint8Array(100) }, node_id: "n", job_id: "j" }),
];

/** A frame as it travels over pipes. */
function withLength(payload: Uint8Array): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(payload.byteLength);
  return Buffer.concat([length, payload]);
}

/** A masked WebSocket message; the mask is all zeros. */
function asMessage(payload: Uint8Array): Buffer {
  const short = payload.byteLength < 126;
  const head = Buffer.alloc(short ? 6 : 8);
  head[0] = 0x82;
  head[1] = 0x80 | (short ? payload.byteLength : 126);
  if (!short) head.writeUInt16BE(payload.byteLength, 2);
  return Buffer.concat([head, payload]);
}

/** A host's input: some frames, damaged as values, as MessagePack, or on the wire. */
function makeCase(random: Random): FuzzCase {
  const transport: Transport = random.pick(["pipes", "websocket"]);
  const wrap = transport === "pipes" ? withLength : asMessage;
  const frames: Buffer[] = [];
  for (let left = 1 + random.below(4); left > 0; left--) {
    const frame = random.pick(seeds);
    const payload = pack(random.oneIn(2) ? mutateJson(frame, random) : frame);
    frames.push(wrap(random.oneIn(3) ? mutateBytes(payload, random) : payload));
  }
  const whole = Buffer.concat(frames);
  const input = random.oneIn(4) ? mutateBytes(whole, random) : whole;
  return { input, parameters: { transport } };
}

/** Splits a worker's output into frames, ignoring an incomplete one at the end. */
function framesIn(bytes: Buffer, transport: Transport): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < bytes.length; ) {
    const [start, length] = transport === "pipes" ? lengthHere(bytes, at) : messageHere(bytes, at);
    if (start + length > bytes.length) break;
    // The other WebSocket messages are a close and a pong.
    if (transport === "pipes" || bytes[at] === 0x82)
      frames.push(unpack(bytes.subarray(start, start + length)) as Frame);
    at = start + length;
  }
  return frames;
}

const lengthHere = (bytes: Buffer, at: number): [start: number, length: number] =>
  at + 4 > bytes.length ? [bytes.length, 1] : [at + 4, bytes.readUInt32BE(at)];

function messageHere(bytes: Buffer, at: number): [start: number, length: number] {
  const length = bytes[at + 1] ?? 0;
  if (at + 10 > bytes.length && length > 125) return [bytes.length, 1];
  if (length === 126) return [at + 4, bytes.readUInt16BE(at + 2)];
  if (length === 127) return [at + 10, Number(bytes.readBigUInt64BE(at + 2))];
  return [at + 2, length];
}

/** @throws {Violation} for an answer that a host cannot use, or that reveals a bug in the worker. */
function check(frames: readonly Frame[]): void {
  for (const { type, data } of frames) {
    if (!["discover", "result", "error", "progress", "update"].includes(type))
      throw new Violation(`a frame has the type ${type}`);
    if (type !== "error") continue;
    const { error, traceback } = data;
    if (traceback !== undefined) throw new Violation(`an internal error: ${String(traceback).slice(0, 300)}`);
    if (typeof error !== "string" || error === "") throw new Violation("an error frame has no message");
    if (error.length > 2000) throw new Violation(`a message has ${error.length} characters`);
  }
}

const dist = fileURLToPath(new URL("./", import.meta.resolve("@mflux-depth/nodetool")));

type WorkerModule = typeof import("../../packages/nodetool/src/worker/worker.js");
type StdioModule = typeof import("../../packages/nodetool/src/worker/stdio.js");
type WebSocketModule = typeof import("../../packages/nodetool/src/worker/websocket.js");

/** Long enough for every answer except a generation's, which ends with its connection. */
const answerMs = 100;

/** Requests of hosts to the NodeTool worker, over pipes and WebSocket. */
export const worker: Area = {
  limits: { seconds: 40, bytes: 2.5e9 },
  prepare: async () => makeCase,
  async open() {
    const { Engine } = await import("mflux-depth/engine");
    const { Worker } = (await import(join(dist, "worker/worker.js"))) as WorkerModule;
    const { serveStdio } = (await import(join(dist, "worker/stdio.js"))) as StdioModule;
    const { serveWebSocket } = (await import(join(dist, "worker/websocket.js"))) as WebSocketModule;
    const engine = new Engine();
    const frameLimit = 2 ** 24;
    const endpoint = await serveWebSocket(new Worker({ transport: "websocket", engine, frameLimit }), {
      ...{ host: "127.0.0.1", port: 0, token: "", frameLimit },
      log: () => {},
    });

    async function overPipes(input: Uint8Array): Promise<Buffer> {
      const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
      const received = gathered(stdout);
      stderr.resume();
      stdin.write(input);
      const { signal } = new AbortController();
      const serving = serveStdio(
        new Worker({ transport: "stdio", engine, frameLimit }),
        { stdin, stdout, stderr },
        { frameLimit, signal },
      );
      await sleep(answerMs);
      stdin.end();
      await serving;
      return received();
    }

    async function overWebSocket(input: Uint8Array): Promise<Buffer> {
      const socket = await upgraded(endpoint.url);
      const received = gathered(socket);
      socket.write(input);
      await sleep(answerMs);
      socket.destroy();
      return received();
    }

    /** @throws {Violation} when the worker no longer serves others. */
    async function requireServing(): Promise<void> {
      const socket = await upgraded(endpoint.url);
      socket.write(asMessage(pack(seeds[1])));
      const answered = once(socket, "data").then(() => true);
      if (!(await Promise.race([answered, sleep(15_000, false, { ref: false })])))
        throw new Violation("the worker no longer answers others");
      socket.destroy();
    }

    return async ({ input, parameters }) => {
      const transport = parameters.transport as Transport;
      check(framesIn(await (transport === "pipes" ? overPipes : overWebSocket)(input), transport));
      await requireServing();
    };
  },
};

/** Collects incoming data. @returns a function that returns it. */
function gathered(stream: PassThrough | Socket): () => Buffer {
  const chunks: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  return () => Buffer.concat(chunks);
}

/** A connection that speaks WebSocket from now on. */
async function upgraded(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {});
  const headers = [
    ...["GET / HTTP/1.1", `Host: ${hostname}`, "Connection: Upgrade", "Upgrade: websocket"],
    ...["Sec-WebSocket-Version: 13", `Sec-WebSocket-Key: ${Buffer.alloc(16).toString("base64")}`],
  ];
  socket.write(`${headers.join("\r\n")}\r\n\r\n`);
  // The worker answers an upgrade in one piece, and sends nothing unasked.
  await once(socket, "data");
  return socket;
}
