/*
 * The worker itself: answers the requests of any number of connections. Each request is answered exactly once.
 */
import { setImmediate as turnEnds } from "node:timers/promises";
import {
  type Engine,
  type EngineEvent,
  type EngineJob,
  type EngineResult,
  modelNamesOf,
} from "mflux-depth/engine";
import { ImageError, MfluxDepthError } from "mflux-depth/errors";
import { definition } from "../definition.js";
import { isRecord, jobOf } from "../inputs.js";
import { progressOf } from "../progress.js";
import { decodeFrame, defaultFrameLimit, encodeFrame, type Frame, FrameError } from "./frames.js";
import { Jobs } from "./jobs.js";
import { Models } from "./models.js";

/** The bridge's version that all of this follows. */
export const protocolVersion = 4;

export type Transport = "stdio" | "websocket";

export interface WorkerOptions {
  readonly transport: Transport;
  readonly engine: Engine;
  /** Bytes of the largest frame, both ways. */
  readonly frameLimit?: number;
  /** Told one line about each run. */
  readonly log?: (line: string) => void;
}

/** One host's end: what it sends goes into `receive`, what it shall get comes out of the `send` it was made with. */
export interface Connection {
  receive(payload: Uint8Array): void;
  /** The host has gone: its runs end, nothing more is sent. */
  close(): void;
}

type Answer = Readonly<Record<string, unknown>>;

/** What a run holds until it is done. */
interface Run {
  readonly controller: AbortController;
  readonly node: string;
}

/** What is known of a run beside its inputs. */
interface RunAbout {
  readonly run: Run;
  readonly jobId: string | null;
  readonly progress: (data: Answer) => void;
}

/** Bytes of pictures that may wait for their runs. */
const mostWaitingBytes = 1024 ** 3;

export class Worker {
  readonly #options: Required<WorkerOptions>;
  readonly #jobs = new Jobs();
  readonly #models: Models;
  /** The node ids and jobs that the held model served. */
  #users = { nodes: new Set<string>(), jobs: new Set<string>() };
  #waitingBytes = 0;

  constructor(options: WorkerOptions) {
    this.#options = { frameLimit: defaultFrameLimit, log: () => {}, ...options };
    this.#models = new Models(options.engine);
  }

  connect(send: (payload: Uint8Array) => void): Connection {
    /** Requests that are being worked on. */
    const open = new Map<string, AbortController>();
    let closed = false;
    const tell = (type: string, id: string | null, data: object): void => {
      if (closed) return;
      const payload = encodeFrame(type, id, data);
      const { frameLimit } = this.#options;
      if (payload.byteLength <= frameLimit) {
        send(payload);
        return;
      }
      const error = `The answer has ${payload.byteLength} bytes; frames may have ${frameLimit} (NODETOOL_BRIDGE_MAX_FRAME_SIZE).`;
      send(encodeFrame("error", id, { error }));
    };

    const serve = async (frame: Frame): Promise<void> => {
      const { type, request_id: id } = frame;
      if (type === "cancel") return open.get(id)?.abort(new Error("cancelled"));
      if (open.has(id))
        return tell("error", id, { error: `A request with the id ${id} is being worked on.` });
      const controller = new AbortController();
      open.set(id, controller);
      try {
        const progress = (data: Answer): void => tell("progress", id, data);
        const answer = await this.#answer(frame, controller, progress);
        tell(type === "discover" ? "discover" : "result", id, answer);
      } catch (error) {
        tell("error", id, describe(error));
      } finally {
        open.delete(id);
      }
    };

    return {
      receive: (payload) => {
        let frame: Frame;
        try {
          frame = decodeFrame(payload);
        } catch (error) {
          if (!(error instanceof FrameError)) throw error;
          tell("error", error.requestId, { error: error.message });
          return;
        }
        void serve(frame);
      },
      close: () => {
        closed = true;
        for (const controller of open.values()) controller.abort(new Error("the connection was closed"));
      },
    };
  }

  async #answer(
    { type, data }: Frame,
    controller: AbortController,
    progress: (data: Answer) => void,
  ): Promise<Answer> {
    switch (type) {
      case "discover":
        return { protocol_version: protocolVersion, nodes: [definition], load_errors: [] };
      case "worker.status":
        return {
          protocol_version: protocolVersion,
          node_count: 1,
          provider_count: 0,
          namespaces: ["mlx"],
          load_errors: [],
          transport: this.#options.transport,
          max_frame_size: this.#options.frameLimit,
        };
      case "provider.list":
        return { providers: [] };
      // A node that gives one picture has nothing to stream: the result is all there is.
      case "execute":
      case "execute.stream":
        return this.#execute(data, controller, progress);
      case "models.list_cached":
        return this.#models.list();
      case "models.download":
        return this.#models.download(data, controller.signal, progress);
      case "models.delete":
        return this.#models.delete(data);
      case "models.evict":
        return this.#evict(data);
      case "job.start":
        return this.#jobs.start(data);
      case "job.end":
        return this.#jobs.end(data);
      default: {
        const [, family = ""] = /^(provider|models|job|comfy|blender)\./.exec(type) ?? [];
        throw new Error(`Unknown ${family}${family && " "}message type: ${type}`);
      }
    }
  }

  async #execute(
    data: Frame["data"],
    controller: AbortController,
    progress: (data: Answer) => void,
  ): Promise<Answer> {
    const { node_type: nodeType, fields = {}, blobs = {} } = data;
    if (nodeType !== definition.node_type) throw new Error(`Unknown node type: ${String(nodeType)}`);
    if (!isRecord(fields)) throw new Error("fields must be a map.");
    if (!isRecord(blobs)) throw new Error("blobs must be a map.");
    const run: Run = { controller, node: textOf(data.node_id) ?? "" };
    const jobId = textOf(data.job_id);
    const leave = jobId === null ? () => {} : this.#jobs.enter(jobId, run);
    try {
      // Receiving a large picture, reading it and handing it on take their time: others are answered in between.
      await othersFirst();
      const job = jobOf({ fields, blobs });
      await othersFirst();
      return await this.#wait(job, { run, jobId, progress });
    } finally {
      leave();
    }
  }

  async #wait(job: EngineJob, about: RunAbout): Promise<Answer> {
    const bytes = bytesOf(job);
    if (this.#waitingBytes + bytes > mostWaitingBytes)
      throw new Error("Too many pictures wait for their turn; try again when some runs are done.");
    this.#waitingBytes += bytes;
    const letGo = this.#models.need(modelNamesOf(job));
    try {
      return await this.#make(job, about);
    } finally {
      this.#waitingBytes -= bytes;
      letGo();
    }
  }

  async #make(job: EngineJob, { run, jobId, progress }: RunAbout): Promise<Answer> {
    const tell = progressOf(job, progress);
    const onEvent = (event: EngineEvent): void => {
      tell(event);
      if (event.type === "started") this.#use(run.node, jobId);
    };
    const { signal } = run.controller;
    const result = await this.#options.engine.generate(job, { signal, onEvent }).catch((error: unknown) => {
      throw signal.aborted ? new Error("cancelled") : named(error);
    });
    const { seed, timings, warnings } = result;
    const seconds = Object.values(timings).reduce((sum, value) => sum + value, 0);
    this.#options.log(
      [`${result.width}×${result.height}, seed ${seed}, ${seconds.toFixed(1)} s`, ...warnings].join("; "),
    );
    return answerOf(result);
  }

  #use(node: string, jobId: string | null): void {
    if (!this.#options.engine.held) this.#users = { nodes: new Set(), jobs: new Set() };
    if (node !== "") this.#users.nodes.add(node);
    if (jobId !== null) this.#users.jobs.add(jobId);
  }

  /** Lets the model go, if the nodes or the job named used it; if none are named, in any case. */
  async #evict({ node_ids: nodes, job_id: jobId }: Frame["data"]): Promise<Answer> {
    const nodeIds = Array.isArray(nodes) ? nodes.filter((id) => typeof id === "string") : [];
    const scoped = Array.isArray(nodes) || typeof jobId === "string";
    const meant =
      !scoped ||
      nodeIds.some((id) => this.#users.nodes.has(id)) ||
      (typeof jobId === "string" && this.#users.jobs.has(jobId));
    const gone = meant ? await this.#options.engine.evict() : null;
    if (!gone) return { evicted: [] };
    return { evicted: [gone.model], freed_vram_gb: gone.bytes / 1024 ** 3 };
  }
}

/** Resolves when what has come from anyone has been received: the end of this turn of the event loop, and of the next. */
async function othersFirst(): Promise<void> {
  await turnEnds();
  await turnEnds();
}

const textOf = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);

const bytesOf = ({ request }: EngineJob): number =>
  [request.image, request.depthImage].reduce(
    (sum, picture) => sum + (picture instanceof Uint8Array ? picture.byteLength : 0),
    0,
  );

/** The picture as the host takes it: its bytes beside what describes it. */
function answerOf({ image, width, height, metadata, warnings }: EngineResult): Answer {
  return {
    outputs: {
      output: { type: "image", format: "png", width, height, metadata: { ...metadata, warnings } },
    },
    blobs: { output: image },
  };
}

/** What the pipeline calls pictures that have no file, and the property they came in. */
const propertyOf: Readonly<Record<string, string>> = { "the photo": "image", "the depth map": "depth_image" };

/** An error of the pipeline in the node's words. */
function named(error: unknown): unknown {
  const property = error instanceof ImageError ? propertyOf[error.source] : undefined;
  if (!(error instanceof ImageError) || property === undefined) return error;
  return new Error(`${property}: ${error.message.slice(error.source.length + 2)}`, { cause: error });
}

/** The data of an error frame. A traceback says where a mistake of ours is; mistakes of others need none. */
function describe(error: unknown): { error: string; traceback?: string } {
  if (!(error instanceof Error)) return { error: String(error) };
  const { message, stack } = error;
  const expected = error instanceof MfluxDepthError || error.constructor === Error;
  return { error: message, ...(!expected && stack !== undefined && { traceback: stack }) };
}
