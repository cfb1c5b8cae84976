import type { ChildProcess } from "node:child_process";
import { untilAborted } from "../abort.js";
import { EngineError, restoreError } from "../errors.js";
import { forkHost, sendTo } from "./fork.js";
import type {
  DepthJob,
  DepthResult,
  EngineEvent,
  EngineJob,
  EngineResult,
  FromDepth,
  FromEngine,
  HeldModel,
  ToEngine,
} from "./protocol.js";

/** A job with its cancellation and its listener. */
export interface ProcessJob {
  readonly job: EngineJob;
  readonly signal: AbortSignal | undefined;
  readonly onEvent: (event: EngineEvent) => void;
}

type Answer = Exclude<FromEngine, { type: "event" }>;

/** An estimate's answer; null if the process ended first. */
type DepthAnswer = FromDepth | null;

/** How long a process may take to end after its channel has closed. */
const stopMs = 5000;

/** A process that runs `host.ts`, from start to end. It works on one job at a time. */
export class EngineProcess {
  readonly #child: ChildProcess;
  /** Resolves once the process has ended for any reason. */
  readonly exited: Promise<void>;
  /** Why the process ended; null while it runs. */
  #end: string | null = null;
  #killed = false;
  /** Ends the current job: with its answer, or with null if the process ended first. */
  #settle: ((answer: Answer | null) => void) | null = null;
  #onEvent: (event: EngineEvent) => void = () => {};
  #jobId = 0;
  readonly #depths = new Map<number, (answer: DepthAnswer) => void>();
  #depthId = 0;
  #held: HeldModel | null = null;

  /** @param env the environment of the process; this process's by default. */
  constructor(env: NodeJS.ProcessEnv | undefined) {
    this.#child = forkHost("host.js", env);
    this.#child.on("message", (message: FromEngine | FromDepth) => this.#receive(message));
    this.exited = new Promise((resolve) => {
      const ended = (how: string): void => {
        this.#end ??= how;
        this.#settle?.(null);
        for (const settle of this.#depths.values()) settle(null);
        resolve();
      };
      this.#child.once("exit", (code, signal) => ended(describeExit(code, signal)));
      this.#child.once("error", (error) => {
        // An exit event follows an undelivered message, but not a failed start.
        if (this.#child.pid === undefined)
          ended(`The engine process could not be started (${error.message}).`);
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The model that the last job left in memory. */
  get held(): HeldModel | null {
    return this.#held;
  }

  /** Keeps the owner's process alive. */
  ref(): void {
    this.#child.ref();
    this.#child.channel?.ref();
  }

  /** Lets the owner's process end first. */
  unref(): void {
    this.#child.unref();
    this.#child.channel?.unref();
  }

  /**
   * Carries out a job.
   * @param cancelSeconds how long the process may take to end a cancelled job before it is killed.
   * @returns null if the process ended before it took the job, perhaps before this call.
   * @throws the error of the job, {@link EngineError} if the process ended meanwhile, or the signal's reason.
   */
  async run(
    { job, signal, onEvent }: ProcessJob,
    { cancelSeconds }: { cancelSeconds: number },
  ): Promise<EngineResult | null> {
    signal?.throwIfAborted();
    const id = ++this.#jobId;
    let taken = false;
    let killTimer: NodeJS.Timeout | undefined;
    const cancel = (): void => {
      this.#send({ type: "cancel", id });
      killTimer = setTimeout(() => this.#child.kill("SIGKILL"), cancelSeconds * 1000);
    };
    this.#onEvent = (event) => {
      taken = true;
      if (!signal?.aborted) onEvent(event);
    };
    try {
      const answer = await new Promise<Answer | null>((resolve) => {
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
      clearTimeout(killTimer);
      signal?.removeEventListener("abort", cancel);
      this.#settle = null;
      this.#onEvent = () => {};
    }
  }

  /**
   * Estimates the depth of a photo: between two steps of the current job, or at once if there is none.
   * @throws the error of the estimate, {@link EngineError} if the process ended meanwhile, or the signal's reason.
   */
  async estimateDepth(job: DepthJob, signal: AbortSignal | undefined): Promise<DepthResult> {
    signal?.throwIfAborted();
    const id = ++this.#depthId;
    const answered = new Promise<DepthAnswer>((resolve) => {
      this.#depths.set(id, resolve);
      this.#send({ type: "depth", id, job });
      if (this.#end !== null) resolve(null);
    });
    try {
      const answer = await untilAborted(answered, signal);
      if (!answer) throw new EngineError(this.#end ?? "The engine ended.", { code: "engine-ended" });
      if (answer.type === "depth-error") throw restoreError(answer.error);
      return answer.result;
    } finally {
      this.#depths.delete(id);
      if (signal?.aborted) this.#send({ type: "cancel-depth", id });
    }
  }

  /** Kills the process; the current job fails with `reason`. */
  kill(reason: string): void {
    this.#end ??= reason;
    this.#killed = true;
    this.#child.kill("SIGKILL");
  }

  /** Ends the process by closing its channel, and kills it if it does not end in time. */
  async stop(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    const killTimer = setTimeout(() => this.#child.kill("SIGKILL"), stopMs);
    this.#child.ref();
    await this.exited;
    clearTimeout(killTimer);
  }

  #send(message: ToEngine): void {
    sendTo(this.#child, message);
  }

  #receive(message: FromEngine | FromDepth): void {
    if (message.type === "depth" || message.type === "depth-error") this.#depths.get(message.id)?.(message);
    else if (message.id !== this.#jobId) return;
    else if (message.type === "event") this.#onEvent(message.event);
    else this.#settle?.(message);
  }
}

function describeExit(code: number | null, signal: NodeJS.Signals | null): string {
  const what =
    signal === "SIGKILL"
      ? "was killed (SIGKILL), usually because memory ran out"
      : `ended during a generation (${signal ? `signal ${signal}` : `exit code ${code}`})`;
  return `The engine process ${what}. The next job starts a new one.`;
}
