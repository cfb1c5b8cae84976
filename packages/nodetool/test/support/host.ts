/*
 * A host for tests: speaks the bridge as NodeTool's server does, with the same MessagePack library.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { pack, Unpackr } from "msgpackr";
import { WebSocket } from "ws";
import { definition } from "../../src/definition.js";
import { FrameReader } from "../../src/worker/stdio.js";
import { assertValidFrame } from "./schema.js";

const unpackr = new Unpackr({ int64AsType: "number", mapsAsObjects: true });

export type Data = Record<string, unknown>;
export interface Received {
  readonly type: string;
  readonly request_id: string | null;
  readonly data: Data;
}

export interface Pending {
  readonly id: string;
  /** The answer's data; rejects with the message of an error frame. */
  readonly answer: Promise<Data>;
  /** Data of progress frames so far. */
  readonly progress: Data[];
  /** Data of update frames so far: lines for the user's log. */
  readonly updates: Data[];
  /** Resolves when any past or future progress fits. */
  until(fits: (progress: Data) => boolean): Promise<void>;
}

export abstract class Host {
  /** All frames received, in order. */
  readonly received: Received[] = [];
  readonly #listeners = new Set<(frame: Received) => void>();

  /** Sends a payload unchanged. */
  abstract raw(payload: Uint8Array): void;

  send(type: string, data: object = {}, id: string = randomUUID()): string {
    this.raw(pack({ type, request_id: id, data }));
    return id;
  }

  request(type: string, data: object = {}, id: string = randomUUID()): Pending {
    const [progress, updates]: [Data[], Data[]] = [[], []];
    const watchers: ((data: Data) => void)[] = [];
    const answer = new Promise<Data>((resolve, reject) => {
      const listener = (frame: Received): void => {
        if (frame.request_id !== id) return;
        if (frame.type === "progress") {
          progress.push(frame.data);
          for (const watch of watchers) watch(frame.data);
          return;
        }
        if (frame.type === "update") {
          updates.push(frame.data);
          return;
        }
        this.#listeners.delete(listener);
        if (frame.type === "error") reject(new Error(frame.data.error as string));
        else resolve(frame.data);
      };
      this.#listeners.add(listener);
    });
    answer.catch(() => {});
    this.send(type, data, id);
    const until = (fits: (data: Data) => boolean): Promise<void> =>
      new Promise((resolve, reject) => {
        if (progress.some(fits)) resolve();
        watchers.push((data) => fits(data) && resolve());
        answer.then(
          () => reject(new Error("the run ended first")),
          (error) => reject(error),
        );
      });
    return { id, answer, progress, updates, until };
  }

  ask(type: string, data: object = {}): Promise<Data> {
    return this.request(type, data).answer;
  }

  /** The next frame that fits. */
  next(fits: (frame: Received) => boolean): Promise<Received> {
    return new Promise((resolve) => {
      const listener = (frame: Received): void => {
        if (!fits(frame)) return;
        this.#listeners.delete(listener);
        resolve(frame);
      };
      this.#listeners.add(listener);
    });
  }

  /** Frames that end a request, by its id. */
  terminal(id: string): Received[] {
    const passing = ["progress", "update"];
    return this.received.filter((frame) => frame.request_id === id && !passing.includes(frame.type));
  }

  protected take(payload: Uint8Array): void {
    const frame = unpackr.unpack(payload as Buffer) as Received;
    assertValidFrame(frame);
    this.received.push(frame);
    for (const listener of [...this.#listeners]) listener(frame);
  }
}

export class SocketHost extends Host {
  readonly socket: WebSocket;

  private constructor(socket: WebSocket) {
    super();
    this.socket = socket;
    socket.on("message", (payload) => this.take(payload as Buffer));
  }

  static async connect(url: string, headers: Record<string, string> = {}): Promise<SocketHost> {
    const socket = new WebSocket(url, { headers, maxPayload: 256 * 1024 * 1024 });
    const host = new SocketHost(socket);
    await once(socket, "open");
    return host;
  }

  override raw(payload: Uint8Array): void {
    this.socket.send(payload);
  }

  /** Disconnects without closing the connection. */
  drop(): void {
    this.socket.terminate();
  }
}

export class PipeHost extends Host {
  readonly child: ChildProcess;
  /** Resolves with the exit code. */
  readonly exited: Promise<number | null>;
  errors = "";

  private constructor(child: ChildProcess) {
    super();
    this.child = child;
    this.exited = once(child, "exit").then(([code]) => code as number | null);
    const frames = new FrameReader(256 * 1024 * 1024);
    child.stdout!.on("data", (chunk: Buffer) => {
      for (const payload of frames.read(chunk)) this.take(payload);
    });
    child.stderr!.on("data", (chunk: Buffer) => {
      this.errors += chunk.toString();
    });
    child.stdin!.on("error", () => {});
  }

  /** Starts the worker as NodeTool starts its own, and waits until it is ready. */
  static async start(env: Record<string, string> = {}): Promise<PipeHost> {
    const child = spawn(executable, ["-m", "nodetool.worker", "--stdio", "--namespaces", "mlx,huggingface"], {
      env: environment(env),
    });
    const host = new PipeHost(child);
    await new Promise<void>((resolve, reject) => {
      // NodeTool looks at each chunk on its own.
      child.stderr!.on("data", (chunk: Buffer) => {
        if (chunk.includes("NODETOOL_STDIO_READY")) resolve();
      });
      child.once("exit", () => reject(new Error(`the worker ended: ${host.errors}`)));
    });
    return host;
  }

  override raw(payload: Uint8Array): void {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(payload.byteLength);
    this.child.stdin!.write(header);
    this.child.stdin!.write(payload);
  }
}

const packages = new URL("../../../../", import.meta.url);
export const executable = fileURLToPath(new URL("nodetool/bin/mflux-depth-worker.js", packages));
export const cli = fileURLToPath(new URL("mflux-depth/bin/mflux-depth.js", packages));
export const examples = new URL("../examples/images/", packages);

/** A test's worker asks no Hub, unless the test sets one. */
const environment = (env: Record<string, string>): NodeJS.ProcessEnv => ({
  ...process.env,
  HF_HUB_OFFLINE: "1",
  ...env,
});

/** The worker's answer to an upgrade: its status, and its body if it refuses. */
export function refusal(
  url: string,
  headers: Record<string, string>,
): Promise<{ status: number; body: string }> {
  const upgrade = {
    connection: "Upgrade",
    upgrade: "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": Buffer.alloc(16).toString("base64"),
  };
  return new Promise((resolve, reject) => {
    const sent = httpRequest(url.replace("ws", "http"), { headers: { ...upgrade, ...headers } });
    sent.once("upgrade", (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode!, body: "" });
    });
    sent.once("response", async (response) => {
      let body = "";
      for await (const chunk of response) body += chunk;
      resolve({ status: response.statusCode!, body });
    });
    sent.once("error", reject);
    sent.end();
  });
}

/** Starts `mflux-depth worker`, on a free port by default; it ends with this process at the latest. */
export async function startWorker(
  env: Record<string, string> = {},
  port = "0",
): Promise<{ url: string; child: ChildProcess; stop: () => Promise<number | null> }> {
  const withParent = new URL("./with-parent.js", import.meta.url).href;
  const child = spawn(process.execPath, ["--import", withParent, cli, "worker", "--port", port], {
    env: environment(env),
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  let log = "";
  child.stderr!.on("data", (chunk: Buffer) => {
    log += chunk.toString();
  });
  const url = await new Promise<string>((resolve, reject) => {
    child.stdout!.once("data", (chunk: Buffer) => resolve(chunk.toString().trim()));
    child.once("exit", (code) => reject(new Error(`the worker ended (${code}): ${log}`)));
  });
  const stop = async (): Promise<number | null> => {
    const exited = once(child, "exit");
    child.kill("SIGINT");
    const [code] = await exited;
    return code as number | null;
  };
  return { url, child, stop };
}

/**
 * Waits until something holds, however busy the machine is.
 * @throws {AssertionError} when it does not hold within a minute.
 */
export async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, `not within a minute: ${holds}`);
    await sleep(20);
  }
}

/** Whether a process runs; a zombie does not. */
export function isRunning(pid: number): boolean {
  const { stdout } = spawnSync("ps", ["-o", "stat=", "-p", `${pid}`], { encoding: "utf8" });
  return stdout.trim() !== "" && !stdout.startsWith("Z");
}

/** The process of a worker's engine, if it has one. */
export function engineOf(worker: number): number | undefined {
  const lines = execFileSync("ps", ["-A", "-o", "pid=,ppid=,args="], { encoding: "utf8" }).split("\n");
  const engines = lines.map((line) => /^\s*(\d+)\s+(\d+)\s(.*)/.exec(line)).filter((match) => match !== null);
  const found = engines.find(
    ([, , parent, args]) => Number(parent) === worker && /engine[\\/]host/.test(args!),
  );
  return found && Number(found[1]);
}

/** The data of a small and fast run of the node with the bundled model. */
export const execution = (
  fields: Data = {},
  { blobs = {}, ...identity }: { blobs?: Data; node_id?: string; job_id?: string } = {},
): Data => ({
  node_type: definition.node_type,
  fields: {
    prompt: "a red cube",
    model: { type: "hf.flux_depth", repo_id: "tiny-world", path: null, variant: null },
    quantize: null,
    width: 256,
    height: 256,
    steps: 2,
    seed: 7,
    ...fields,
  },
  secrets: {},
  blobs,
  ...identity,
});

export const steps = (progress: readonly Data[]): number[][] =>
  progress.filter((data) => data.progress !== 0).map((data) => [Number(data.progress), Number(data.total)]);
