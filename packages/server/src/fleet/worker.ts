import type { Engine } from "mflux-depth/engine";
import type { Dispatcher } from "../dispatch/dispatcher.js";
import type { Defaults } from "../requests/resolve.js";
import { Runner } from "../work/runner.js";
import { Acceptance } from "./acceptance.js";
import { type ApiClient, ApiRefusal } from "./api-client.js";
import { whyNotHere } from "./examine.js";
import type { Heartbeat, HeartbeatAnswer } from "./protocol.js";
import { RemoteRecords } from "./remote-record.js";

export interface FleetWorkerOptions {
  readonly api: ApiClient;
  readonly dispatcher: Dispatcher;
  readonly engine: Engine;
  readonly defaults: Defaults;
  /** The constant facts about this worker. */
  readonly facts: Pick<Heartbeat, "version" | "device" | "memory_bytes">;
  /** The names of models whose files are here. */
  readonly modelsHere: () => Promise<readonly string[]>;
  /** How long a worker may be silent; 30 seconds by default. */
  readonly leaseMs?: number;
  /**
   * Called when the API has accepted this worker, with its id, and when it is unreachable or refuses it: once for each reason.
   */
  readonly onConnection: (state: { readonly worker: string } | { readonly error: Error }) => void;
  readonly onProblem: (message: string, error: unknown) => void;
}

/** How long a stopping worker tries to tell the API. */
const farewellMs = 5000;

/**
 * A worker in a process of its own, usually on another machine: takes jobs from the dispatcher, and reports to the API.
 * It takes new jobs only while the API answers its heartbeats.
 */
export class FleetWorker {
  readonly #options: FleetWorkerOptions;
  readonly #records: RemoteRecords;
  readonly #acceptance: Acceptance;
  readonly #beatMs: number;
  /** Started once the API has given this worker its id. */
  #runner: Runner | null = null;
  #connected = false;
  /** The last problem reported: "away", or the API's refusal; null while it answers. */
  #complaint: string | null = null;
  #timer: NodeJS.Timeout | undefined;
  #beating: Promise<void> | null = null;
  /** Whether something has changed since the current heartbeat was sent. */
  #again = false;
  #stopped = false;

  constructor(options: FleetWorkerOptions) {
    const { api, leaseMs = 30_000, onProblem } = options;
    this.#options = options;
    this.#beatMs = leaseMs / 3;
    this.#records = new RemoteRecords(api, onProblem);
    this.#acceptance = new Acceptance({
      examine: (model) => whyNotHere(model, options),
      onChange: () => {
        this.#beat();
        this.#runner?.lookAgain();
      },
    });
  }

  start(): void {
    this.#beat();
  }

  /** Leaves the job in progress at its last checkpoint, and ends within a few seconds. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#options.api.giveUpIn(farewellMs);
    await this.#runner?.stop();
    await this.#options.engine.close();
    await this.#options.dispatcher.close();
  }

  /** Sends a heartbeat now, or after the one in progress. */
  #beat(): void {
    if (this.#beating) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    this.#beating = this.#exchange().finally(() => {
      this.#beating = null;
      if (this.#stopped) return;
      if (this.#again) {
        this.#again = false;
        this.#beat();
      } else this.#timer = setTimeout(() => this.#beat(), this.#pauseMs);
    });
  }

  /** An API that was unreachable is usually back soon, and jobs are waiting there. */
  get #pauseMs(): number {
    return this.#connected ? this.#beatMs : this.#beatMs * (0.1 + 0.2 * Math.random());
  }

  async #exchange(): Promise<void> {
    const { api, facts, modelsHere, onConnection } = this.#options;
    const attempt = this.#runner?.attempt ?? null;
    try {
      const body: Heartbeat = {
        ...facts,
        model: this.#runner?.modelName ?? null,
        models: await modelsHere(),
        attempt,
        verdicts: this.#acceptance.verdicts,
      };
      const answer = await api.ask<HeartbeatAnswer>({ method: "POST", path: "/heartbeat", body });
      if (this.#stopped) return;
      if (!this.#connected) onConnection({ worker: answer.worker });
      this.#connected = true;
      this.#complaint = null;
      this.#obey(answer, attempt);
    } catch (error) {
      if (this.#stopped) return;
      this.#connected = false;
      const complaint = error instanceof ApiRefusal ? error.message : "away";
      if (complaint !== this.#complaint) onConnection({ error: error as Error });
      this.#complaint = complaint;
      this.#runner?.drain();
    }
  }

  #obey({ worker, draining, standing, wanted }: HeartbeatAnswer, attempt: Heartbeat["attempt"]): void {
    this.#runner ??= this.#begin(worker);
    const runner = this.#runner;
    if (draining) runner.drain();
    else runner.resume();
    const { current } = this.#records;
    if (standing && current?.job.id === attempt?.job && current?.job.attempt === attempt?.attempt)
      current?.hear(standing);
    for (const model of wanted) this.#acceptance.consider(model);
  }

  #begin(worker: string): Runner {
    const { dispatcher, engine, defaults, onProblem } = this.#options;
    const runner = new Runner({
      engine,
      defaults,
      onProblem,
      records: this.#records,
      dispatcher,
      worker,
      accepts: this.#acceptance.accepts,
      renewMs: this.#beatMs,
      onChange: () => this.#beat(),
    });
    runner.start();
    return runner;
  }
}
