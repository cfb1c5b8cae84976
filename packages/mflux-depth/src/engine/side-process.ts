import type { ChildProcess } from "node:child_process";
import { untilAborted } from "../abort.js";
import { EngineError, restoreError } from "../errors.js";
import { forkHost, sendTo } from "./fork.js";
import type { FromSide, SideRequest } from "./protocol.js";

type Answer = Exclude<FromSide, { type: "error" }>;

/** A request that waits for its answer. */
interface OpenRequest {
  readonly child: ChildProcess;
  /** Receives null if the process ends first. */
  readonly resolve: (answer: FromSide | null) => void;
}

/** How long the process waits for another request before it exits. */
const idleMs = 60_000;

/** The owner's end of `side-host.ts`. The process starts with the first request and exits when it has been idle. */
export class SideProcess {
  readonly #env: NodeJS.ProcessEnv | undefined;
  #child: ChildProcess | null = null;
  readonly #open = new Map<number, OpenRequest>();
  #id = 0;
  #idle: NodeJS.Timeout | undefined;

  /** @param env the environment of the process; this process's by default. */
  constructor(env: NodeJS.ProcessEnv | undefined) {
    this.#env = env;
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Asks the process, which answers requests in any order.
   * @throws the error of the request, {@link EngineError} if the process ended meanwhile, or the signal's reason.
   */
  async ask<Type extends Answer["type"]>(
    request: Extract<SideRequest, { type: Type }>,
    signal: AbortSignal | undefined,
  ): Promise<Extract<Answer, { type: Type }>> {
    signal?.throwIfAborted();
    const id = ++this.#id;
    const child = this.#wake();
    try {
      const answered = new Promise<FromSide | null>((resolve) => {
        this.#open.set(id, { child, resolve });
        sendTo(child, { type: "request", id, request });
      });
      const answer = await untilAborted(answered, signal);
      if (!answer)
        throw new EngineError("The process that estimates depth and memory ended unexpectedly; try again.", {
          code: "engine-ended",
        });
      if (answer.type === "error") throw restoreError(answer.error);
      return answer as Extract<Answer, { type: Type }>;
    } finally {
      this.#open.delete(id);
      if (signal?.aborted) sendTo(child, { type: "cancel", id });
      if (this.#open.size === 0) this.#rest();
    }
  }

  /** Ends the process. Open requests reject. */
  stop(): void {
    clearTimeout(this.#idle);
    this.#child?.kill("SIGKILL");
  }

  /** The process, started if necessary, which keeps this one alive. */
  #wake(): ChildProcess {
    clearTimeout(this.#idle);
    const child = this.#child ?? this.#start();
    child.ref();
    child.channel?.ref();
    return child;
  }

  #start(): ChildProcess {
    const child = forkHost("side-host.js", this.#env);
    this.#child = child;
    child.on("message", (answer: FromSide) => this.#open.get(answer.id)?.resolve(answer));
    const end = (): void => {
      if (this.#child === child) this.#child = null;
      for (const open of this.#open.values()) if (open.child === child) open.resolve(null);
    };
    child.once("exit", end);
    child.once("error", () => {
      // An exit event follows an undelivered message, but not a failed start.
      if (child.pid === undefined) end();
    });
    return child;
  }

  #rest(): void {
    this.#child?.unref();
    this.#child?.channel?.unref();
    this.#idle = setTimeout(() => this.#end(), idleMs).unref();
  }

  /** Lets the process exit. A request that arrives before it has exited starts another. */
  #end(): void {
    const child = this.#child;
    this.#child = null;
    if (child?.connected) child.disconnect();
  }
}
