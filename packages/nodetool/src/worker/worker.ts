/*
 * The worker: answers the requests of any number of connections, each exactly once.
 */
import type { Engine } from "mflux-depth/engine";
import { MfluxDepthError } from "mflux-depth/errors";
import { messageOf } from "../advice.js";
import { definition } from "../definition.js";
import {
  type Answer,
  decodeFrame,
  defaultFrameLimit,
  encodeFrame,
  type Frame,
  FrameError,
  type Tell,
} from "./frames.js";
import { Jobs } from "./jobs.js";
import { Models } from "./models.js";
import { Runs } from "./runs.js";

/** The version of the bridge's protocol. */
export const protocolVersion = 4;

type Transport = "stdio" | "websocket";

export interface WorkerOptions {
  readonly transport: Transport;
  readonly engine: Engine;
  /** Bytes of the largest frame, in both directions. */
  readonly frameLimit?: number;
  /** Receives one line about each run. */
  readonly log?: (line: string) => void;
}

/** The worker's end of a connection to a host. */
interface Connection {
  /** Handles a frame from the host; answers go to the `send` passed to `connect`. */
  receive(payload: Uint8Array): void;
  /** Called when the host has disconnected: its runs end, and nothing more is sent. */
  close(): void;
}

export class Worker {
  readonly #transport: Transport;
  readonly #frameLimit: number;
  readonly #jobs = new Jobs();
  readonly #models: Models;
  readonly #runs: Runs;

  constructor({ transport, engine, frameLimit = defaultFrameLimit, log = () => {} }: WorkerOptions) {
    this.#transport = transport;
    this.#frameLimit = frameLimit;
    this.#models = new Models(engine);
    // A host at the other end of pipes started this process; a host behind a socket may be remote, through a tunnel.
    const localFiles = transport === "stdio";
    this.#runs = new Runs({ engine, jobs: this.#jobs, models: this.#models, localFiles, log });
  }

  /** @param send sends a frame to the host. */
  connect(send: (payload: Uint8Array) => void): Connection {
    /** The requests in progress. */
    const open = new Map<string, AbortController>();
    let closed = false;
    const tell = (type: string, id: string | null, data: object): void => {
      if (closed) return;
      const payload = encodeFrame(type, id, data);
      const limit = this.#frameLimit;
      if (payload.byteLength <= limit) {
        send(payload);
        return;
      }
      const error = `The answer has ${payload.byteLength} bytes; frames may have ${limit} (NODETOOL_BRIDGE_MAX_FRAME_SIZE).`;
      send(encodeFrame("error", id, { error }));
    };

    const serve = async (frame: Frame): Promise<void> => {
      const { type, request_id: id } = frame;
      if (type === "cancel") return open.get(id)?.abort(new Error("cancelled"));
      if (open.has(id))
        return tell("error", id, describe(new Error(`A request with the id ${id} is in progress.`)));
      const controller = new AbortController();
      open.set(id, controller);
      try {
        const answer = await this.#answer(frame, controller, (kind, about) => tell(kind, id, about));
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

  async #answer({ type, data }: Frame, controller: AbortController, tell: Tell): Promise<Answer> {
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
          transport: this.#transport,
          max_frame_size: this.#frameLimit,
        };
      case "provider.list":
        return { providers: [] };
      // A node with one image streams nothing: its result is the complete answer.
      case "execute":
      case "execute.stream":
        return this.#runs.execute(data, controller, tell);
      case "models.list_cached":
        return this.#models.list();
      case "models.download":
        return this.#models.download(data, controller.signal, (progress) => tell("progress", progress));
      case "models.delete":
        return this.#models.delete(data);
      case "models.evict":
        return this.#runs.evict(data);
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
}

/** The data of an error frame. Tracebacks locate bugs in this program, so usage errors have none. */
function describe(error: unknown): { error: string; traceback?: string } {
  const expected =
    error instanceof MfluxDepthError || (error instanceof Error && error.constructor === Error);
  const traceback = error instanceof Error && !expected ? error.stack : undefined;
  return { error: messageOf(error), ...(traceback !== undefined && { traceback }) };
}
