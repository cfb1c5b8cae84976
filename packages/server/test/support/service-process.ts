import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import type { TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import type { JsonOptions } from "../../src/contract/index.js";
import type { StreamEvent } from "../../src/jobs/service.js";
import { engineOf } from "./service.js";
import { slowSteps } from "./slow-steps.js";

export type ToHost = { readonly type: "submit"; readonly options: JsonOptions } | { readonly type: "close" };

export type FromHost =
  | { readonly type: "opened" }
  | { readonly type: "submitted"; readonly id: string }
  | { readonly type: "event"; readonly event: StreamEvent };

const host = fileURLToPath(new URL("service-host.js", import.meta.url));

/** A service in a separate process, which can be killed. */
export class ServiceProcess {
  readonly #child: ChildProcess;
  readonly #seen: FromHost[] = [];

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on("message", (message: FromHost) => this.#seen.push(message));
  }

  /**
   * Opens a data folder. The process is killed after the test.
   * @param options.slow whether its engine takes long for each step
   */
  static async open(t: TestContext, folder: string, { slow = false } = {}): Promise<ServiceProcess> {
    const child = fork(host, [folder], { env: { ...process.env, ...(slow && slowSteps) } });
    t.after(() => child.kill("SIGKILL"));
    const service = new ServiceProcess(child);
    await service.#message((message) => message.type === "opened");
    return service;
  }

  /** Submits a generation. @returns its id. */
  async submit(options: JsonOptions): Promise<string> {
    this.#child.send({ type: "submit", options } satisfies ToHost);
    const message = await this.#message(({ type }) => type === "submitted");
    return (message as Extract<FromHost, { type: "submitted" }>).id;
  }

  /** Waits for an event, past or to come. */
  async event(isWanted: (event: StreamEvent) => boolean): Promise<StreamEvent> {
    const message = await this.#message((one) => one.type === "event" && isWanted(one.event));
    return (message as Extract<FromHost, { type: "event" }>).event;
  }

  /** The process id of its engine. */
  get engine(): number | null {
    return engineOf(this.#child.pid!);
  }

  /** Stops it at any point of its code. */
  pause(): void {
    this.#child.kill("SIGSTOP");
  }

  unpause(): void {
    this.#child.kill("SIGCONT");
  }

  /** Kills it, as a loss of power would. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, "exit");
  }

  /** Lets it end. @returns how long that took, in milliseconds. */
  async close(): Promise<number> {
    const start = performance.now();
    const exited = once(this.#child, "exit");
    this.#child.send({ type: "close" } satisfies ToHost);
    await exited;
    return performance.now() - start;
  }

  async #message(isWanted: (message: FromHost) => boolean): Promise<FromHost> {
    const seen = this.#seen.find(isWanted);
    if (seen) return seen;
    return new Promise((resolve, reject) => {
      const look = (message: FromHost): void => {
        if (!isWanted(message)) return;
        this.#child.off("message", look);
        this.#child.off("exit", ended);
        resolve(message);
      };
      const ended = (): void => reject(new Error("The process has ended."));
      this.#child.on("message", look);
      this.#child.once("exit", ended);
    });
  }
}
