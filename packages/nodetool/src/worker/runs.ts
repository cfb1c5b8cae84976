/* Runs of the node: each prepares its inputs, waits for its turn on the engine, and answers with an image. */
import { setImmediate as turnEnds } from "node:timers/promises";
import {
  type Engine,
  type EngineEvent,
  type EngineJob,
  type EngineResult,
  modelNamesOf,
} from "mflux-depth/engine";
import { isRecord } from "mflux-depth/options";
import { warningOf } from "../advice.js";
import { definition } from "../definition.js";
import { jobOf } from "../inputs/job.js";
import { drawnSeed, logUpdate } from "../log-update.js";
import { reportProgress } from "../progress.js";
import type { Answer, FrameData, Tell } from "./frames.js";
import type { JobRun, Jobs } from "./jobs.js";
import type { Models } from "./models.js";

/** The maximum bytes of images of waiting runs. */
const mostWaitingBytes = 1024 ** 3;

/** A run, with its job and its connection to the host. */
interface HostedRun extends JobRun {
  readonly jobId: string | null;
  /** The host's token for the Hub, used only for this run's downloads. */
  readonly token: string | undefined;
  readonly tell: Tell;
}

interface RunsOptions {
  readonly engine: Engine;
  readonly jobs: Jobs;
  readonly models: Models;
  /** Whether hosts may name files of this machine. */
  readonly localFiles: boolean;
  /** Receives one line about each run. */
  readonly log: (line: string) => void;
}

export class Runs {
  readonly #options: RunsOptions;
  /** The node ids and jobs that the held model served. */
  #users = { nodes: new Set<string>(), jobs: new Set<string>() };
  #waitingBytes = 0;

  constructor(options: RunsOptions) {
    this.#options = options;
  }

  /**
   * Answers `execute`.
   * @throws when the request is not for this node, an input is refused, or the generation fails.
   */
  async execute(data: FrameData, controller: AbortController, tell: Tell): Promise<Answer> {
    const { node_type: nodeType, fields = {}, blobs = {}, secrets } = data;
    if (nodeType !== definition.node_type) throw new Error(`Unknown node type: ${String(nodeType)}`);
    if (!isRecord(fields)) throw new Error("fields must be a map.");
    if (!isRecord(blobs)) throw new Error("blobs must be a map.");
    const jobId = textOf(data.job_id);
    const token = (isRecord(secrets) && textOf(secrets.HF_TOKEN)) || undefined;
    const run = { controller, node: textOf(data.node_id) ?? "", jobId, token, tell };
    const { jobs, localFiles } = this.#options;
    const leave = jobId === null ? () => {} : jobs.enter(jobId, run);
    try {
      // Receiving, reading and passing on a large image all take time, so answer other requests in between.
      await othersFirst();
      const job = jobOf({ fields, blobs, localFiles });
      await othersFirst();
      return await this.#wait(job, run);
    } finally {
      leave();
    }
  }

  /**
   * Answers `models.evict`: releases the model if the named nodes or job used it, or unconditionally if none are named.
   */
  async evict({ node_ids: nodes, job_id: jobId }: FrameData): Promise<Answer> {
    const nodeIds = Array.isArray(nodes) ? nodes.filter((id) => typeof id === "string") : [];
    const scoped = Array.isArray(nodes) || typeof jobId === "string";
    const meant =
      !scoped ||
      nodeIds.some((id) => this.#users.nodes.has(id)) ||
      (typeof jobId === "string" && this.#users.jobs.has(jobId));
    const released = meant ? await this.#options.engine.evict() : null;
    if (!released) return { evicted: [] };
    return { evicted: [released.model], freed_vram_gb: released.bytes / 1024 ** 3 };
  }

  /** Generates, protecting the job's models from deletion while it waits and works. */
  async #wait(job: EngineJob, run: HostedRun): Promise<Answer> {
    const bytes = bytesOf(job);
    if (this.#waitingBytes + bytes > mostWaitingBytes)
      throw new Error("Too many images are waiting for their turn; try again when some runs are done.");
    this.#waitingBytes += bytes;
    const letGo = this.#options.models.need(modelNamesOf(job));
    try {
      return await this.#generate(job, run);
    } finally {
      this.#waitingBytes -= bytes;
      letGo();
    }
  }

  async #generate(job: EngineJob, { controller, node, jobId, token, tell }: HostedRun): Promise<Answer> {
    const { engine, log } = this.#options;
    using report = reportProgress(job, (progress) => tell("progress", progress));
    const onEvent = (event: EngineEvent): void => {
      report.receive(event);
      if (event.type === "started") this.#use(node, jobId);
      if (event.type === "warning") tell("update", logUpdate(node, warningOf(event), "warning"));
    };
    const { signal } = controller;
    const result = await engine.generate(job, { signal, onEvent, token }).catch((error: unknown) => {
      throw signal.aborted ? new Error("cancelled") : error;
    });
    const { width, height, seed, timings, warnings } = result;
    const seconds = Object.values(timings).reduce((sum, value) => sum + value, 0);
    if (job.request.seed === 0) tell("update", logUpdate(node, drawnSeed(seed), "info"));
    log([`${width}×${height}, seed ${seed}, ${seconds.toFixed(1)} s`, ...warnings].join("; "));
    return answerOf(result);
  }

  #use(node: string, jobId: string | null): void {
    if (!this.#options.engine.held) this.#users = { nodes: new Set(), jobs: new Set() };
    if (node !== "") this.#users.nodes.add(node);
    if (jobId !== null) this.#users.jobs.add(jobId);
  }
}

/** Resolves once everything that has arrived has been received: after this event-loop turn and the next. */
async function othersFirst(): Promise<void> {
  await turnEnds();
  await turnEnds();
}

const textOf = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);

const bytesOf = ({ request }: EngineJob): number =>
  Object.values(request).reduce(
    (sum: number, value) => sum + (value instanceof Uint8Array ? value.byteLength : 0),
    0,
  );

/** The answer in the host's format: the image's bytes separate from their description. */
function answerOf({ image, width, height, metadata, warnings }: EngineResult): Answer {
  return {
    outputs: {
      output: { type: "image", format: "png", width, height, metadata: { ...metadata, warnings } },
    },
    blobs: { output: image },
  };
}
