import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { EngineError, restoreError } from "../errors.js";
import { shortOfMemory } from "../memory/pressure.js";
import { refuseUnknown, requestOptions, resolveLoadOptions, resolveRequest } from "../options/index.js";
import { Downloads } from "./models.js";
import type { EngineEvent, EngineJob, EngineResult, FromEngine, HeldModel, ToEngine } from "./protocol.js";

export interface EngineOptions {
  /** The model is let go after so long without a job. 10 minutes when absent. */
  readonly idleSeconds?: number;
  /** Asked now and then while no job runs: true lets the model go. The system's own state when absent. */
  readonly shortOfMemory?: () => Promise<boolean>;
  /** How often that is asked. 15 seconds when absent. */
  readonly pressureSeconds?: number;
  /** A cancelled job that has not ended after so long ends with its process. */
  readonly cancelSeconds?: number;
  /** The environment of the process, for what MLX and the model's cache read there. */
  readonly env?: NodeJS.ProcessEnv;
}

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: EngineEvent) => void) | undefined;
  /**
   * A token for the Hub, in place of this machine's. It is used for this job's downloads only, and is not part of the
   * job, so that nothing keeps it.
   */
  readonly token?: string | undefined;
}

/** A timer of more fires at once. */
const longestTimerMs = 2 ** 31 - 1;

interface Waiting {
  readonly job: EngineJob;
  readonly signal: AbortSignal | undefined;
  readonly onEvent: (event: EngineEvent) => void;
  readonly resolve: (result: EngineResult) => void;
  readonly reject: (error: unknown) => void;
  /** Takes the job out of the queue. */
  readonly leave: () => void;
}

/**
 * The pipeline in a process of its own. Jobs run one after another in the order of the calls, the event loop here
 * stays free, and whatever happens to the process costs one job: the next starts another. A job whose model is not on
 * this machine takes its place when it has been downloaded; those that come meanwhile do not wait for it.
 *
 * The process keeps its model for the next job and ends when the model is let go, so that all memory is back.
 */
export class Engine {
  readonly #options: Required<Omit<EngineOptions, "env">> & Pick<EngineOptions, "env">;
  readonly #queue: Waiting[] = [];
  readonly #downloads: Downloads;
  /** Jobs that wait for their models. */
  #downloading = 0;
  #running: Waiting | null = null;
  #process: EngineProcess | null = null;
  #idle: NodeJS.Timeout | null = null;
  #pressure: NodeJS.Timeout | null = null;
  readonly #closing = new AbortController();

  constructor(options: EngineOptions = {}) {
    this.#downloads = new Downloads(options.env);
    this.#options = {
      idleSeconds: 600,
      shortOfMemory,
      pressureSeconds: 15,
      cancelSeconds: 10,
      ...options,
    };
  }

  /** Whether a job runs. */
  get busy(): boolean {
    return this.#running !== null;
  }

  /** Jobs that have not begun. */
  get waiting(): number {
    return this.#queue.length + this.#downloading;
  }

  /** The process, while there is one. */
  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** What the last job left for the next one. */
  get held(): HeldModel | null {
    return this.#process?.held ?? null;
  }

  /**
   * Makes a picture when its model is here and the jobs before are done.
   * @param options.signal ends the download, takes the job out of the queue, or ends it within a step; the promise then
   * rejects with the signal's reason, when the memory of the job is back.
   * @throws {OptionError} for a value that cannot be, at once.
   * @throws {ImageError} {ModelError} as the pipeline does.
   * @throws {EngineError} when the process ended, or something failed that is nobody's mistake.
   */
  async generate(
    job: EngineJob,
    { signal, onEvent = () => {}, token }: RunOptions = {},
  ): Promise<EngineResult> {
    if (this.#closing.signal.aborted)
      throw new EngineError("This engine has been closed.", { code: "engine-closed" });
    signal?.throwIfAborted();
    refuseUnknown(Object.keys(job.request), Object.keys(requestOptions));
    resolveRequest(job.request);
    resolveLoadOptions(job.load);
    if (this.#downloads.missing(job)) await this.#download(job, { signal, onEvent, token });
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#queue.splice(this.#queue.indexOf(waiting), 1);
        reject(signal?.reason);
      };
      const waiting: Waiting = { job, signal, onEvent, resolve, reject, leave };
      this.#queue.push(waiting);
      signal?.addEventListener("abort", leave, { once: true });
      void this.#next();
    });
  }

  async #download(
    job: EngineJob,
    { signal, onEvent, token }: Omit<RunOptions, "onEvent"> & { onEvent: (event: EngineEvent) => void },
  ): Promise<void> {
    this.#downloading++;
    try {
      await this.#downloads.obtain(job, {
        signal: AbortSignal.any([this.#closing.signal, ...(signal ? [signal] : [])]),
        onProgress: (progress) => onEvent({ type: "load", ...progress }),
        token,
      });
    } finally {
      this.#downloading--;
    }
  }

  /**
   * Lets the model go, unless a job runs or waits for its turn.
   * @returns what was held, or null when nothing was or it is in use.
   */
  async evict(): Promise<HeldModel | null> {
    if (this.#running || this.#queue.length > 0) return null;
    const held = this.held;
    await this.#stop();
    return held;
  }

  /** Ends the process; jobs that run or wait reject. */
  async close(): Promise<void> {
    const reason = new EngineError("The engine was closed.", { code: "engine-closed" });
    this.#closing.abort(reason);
    for (const { signal, leave, reject } of this.#queue.splice(0)) {
      signal?.removeEventListener("abort", leave);
      reject(reason);
    }
    if (this.#running) this.#process?.kill("The engine was closed.");
    await this.#stop();
  }

  async #next(): Promise<void> {
    if (this.#running) return;
    const waiting = this.#queue.shift();
    if (!waiting) return this.#rest();
    waiting.signal?.removeEventListener("abort", waiting.leave);
    this.#running = waiting;
    this.#wake();
    try {
      waiting.resolve(await this.#run(waiting));
    } catch (error) {
      waiting.reject(error);
    }
    this.#running = null;
    void this.#next();
  }

  async #run(waiting: Waiting): Promise<EngineResult> {
    const { cancelSeconds } = this.#options;
    const kept = this.#process;
    if (kept) {
      const result = await kept.run(waiting, cancelSeconds);
      if (result) return result;
    }
    const result = await this.#start().run(waiting, cancelSeconds);
    if (!result)
      throw new EngineError("The engine could not be started; a report on this machine may say why.", {
        code: "engine-not-started",
        details: { remedies: [{ kind: "inspect-machine" }] },
      });
    return result;
  }

  #start(): EngineProcess {
    this.#closing.signal.throwIfAborted();
    const started = new EngineProcess(this.#options.env);
    this.#process = started;
    void started.exited.then(() => {
      if (this.#process === started) this.#process = null;
    });
    return started;
  }

  /** Nothing to do: the process may outlive this only for as long as the model may be wanted. */
  #rest(): void {
    if (!this.#process || this.#idle) return;
    const { idleSeconds, pressureSeconds, shortOfMemory: isShort } = this.#options;
    this.#process.unref();
    this.#idle = setTimeout(() => void this.#stop(), Math.min(idleSeconds * 1000, longestTimerMs)).unref();
    this.#pressure = setInterval(async () => {
      const short = await isShort().catch(() => false);
      if (short && !this.#running) await this.#stop();
    }, pressureSeconds * 1000).unref();
  }

  #wake(): void {
    if (this.#idle) clearTimeout(this.#idle);
    if (this.#pressure) clearInterval(this.#pressure);
    this.#idle = null;
    this.#pressure = null;
    this.#process?.ref();
  }

  async #stop(): Promise<void> {
    this.#wake();
    const stopping = this.#process;
    this.#process = null;
    await stopping?.stop();
  }
}

/** One life of the engine's process. */
class EngineProcess {
  readonly #child: ChildProcess;
  /** Resolves when the process has ended, however it did. */
  readonly exited: Promise<void>;
  #end: string | null = null;
  /** By its owner. */
  #killed = false;
  #settle: ((message: Exclude<FromEngine, { type: "event" }> | null) => void) | null = null;
  #onEvent: (event: EngineEvent) => void = () => {};
  #id = 0;
  #held: HeldModel | null = null;

  constructor(env: NodeJS.ProcessEnv | undefined) {
    // What MLX or a library prints must not get into the results of the process here.
    this.#child = fork(fileURLToPath(new URL("./host.js", import.meta.url)), [], {
      serialization: "advanced",
      stdio: ["ignore", 2, 2, "ipc"],
      execArgv: [],
      ...(env && { env }),
    });
    this.#child.on("message", (message: FromEngine) => this.#receive(message));
    this.exited = new Promise((resolve) => {
      const ended = (how: string): void => {
        this.#end ??= how;
        this.#settle?.(null);
        resolve();
      };
      this.#child.once("exit", (code, signal) => ended(sentenceOf(code, signal)));
      this.#child.once("error", (error) => {
        // A message that cannot be delivered is followed by the exit; a process that never started is not.
        if (this.#child.pid === undefined) ended(`The engine could not be started (${error.message}).`);
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get held(): HeldModel | null {
    return this.#held;
  }

  ref(): void {
    this.#child.ref();
    this.#child.channel?.ref();
  }

  unref(): void {
    this.#child.unref();
    this.#child.channel?.unref();
  }

  /** @returns null when the process ended before it took the job: it may have been dead already. */
  async run({ job, signal, onEvent }: Waiting, cancelSeconds: number): Promise<EngineResult | null> {
    signal?.throwIfAborted();
    const id = ++this.#id;
    let taken = false;
    let impatient: NodeJS.Timeout | undefined;
    const cancel = (): void => {
      this.#send({ type: "cancel", id });
      impatient = setTimeout(() => this.#child.kill("SIGKILL"), cancelSeconds * 1000);
    };
    this.#onEvent = (event) => {
      taken = true;
      if (!signal?.aborted) onEvent(event);
    };
    try {
      const answer = await new Promise<Exclude<FromEngine, { type: "event" }> | null>((resolve) => {
        this.#settle = resolve;
        signal?.addEventListener("abort", cancel, { once: true });
        this.#send({ type: "generate", id, job });
        if (this.#end !== null) resolve(null);
      });
      if (answer) this.#held = answer.held;
      signal?.throwIfAborted();
      if (!answer && !taken && !this.#killed) return null;
      if (!answer)
        throw new EngineError(this.#end ?? "The engine ended.", {
          code: this.#killed ? "engine-closed" : "engine-ended",
        });
      if (answer.type === "error") throw restoreError(answer.error);
      return answer.result;
    } finally {
      clearTimeout(impatient);
      signal?.removeEventListener("abort", cancel);
      this.#settle = null;
      this.#onEvent = () => {};
    }
  }

  kill(why: string): void {
    this.#end ??= why;
    this.#killed = true;
    this.#child.kill("SIGKILL");
  }

  /** Ends the process: in peace, or after a while by force. */
  async stop(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    const impatient = setTimeout(() => this.#child.kill("SIGKILL"), 5000);
    this.#child.ref();
    await this.exited;
    clearTimeout(impatient);
  }

  #send(message: ToEngine): void {
    // A process that has gone says so by its exit.
    this.#child.send(message, () => {});
  }

  #receive(message: FromEngine): void {
    if (message.id !== this.#id) return;
    if (message.type === "event") this.#onEvent(message.event);
    else this.#settle?.(message);
  }
}

function sentenceOf(code: number | null, signal: NodeJS.Signals | null): string {
  const how = signal ? `signal ${signal}` : `exit code ${code}`;
  const why = signal === "SIGKILL" ? "; the system does so when memory runs out" : "";
  return `The engine ended while it made the picture (${how}${why}). The next run starts it anew.`;
}
