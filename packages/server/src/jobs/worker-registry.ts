import { totalmem } from "node:os";
import type { WorkerObject } from "../contract/index.js";
import { ServiceError } from "../errors.js";
import type { Heartbeat, HeartbeatAnswer, Standing } from "../fleet/protocol.js";
import type { History } from "../history/history.js";
import type { Ledger } from "../ledger/ledger.js";
import type { WorkerRecord } from "../ledger/workers.js";
import type { Runner } from "../work/runner.js";

/** The worker of the API's own process. */
export const localWorker = "local";

/** Forget workers that have not been heard from for this long. */
const forgetMs = 24 * 60 * 60 * 1000;

/** How often to compare the models of waiting jobs with what workers can run. */
const lookMs = 1000;

/** The maximum number of models that workers are asked to check. */
const mostWanted = 50;

export interface WorkerRegistryOptions {
  readonly ledger: Ledger;
  readonly history: History;
  /** The worker of this process; null without one. */
  readonly runner: Runner | null;
  /** The device of that worker. */
  readonly device: string;
  /** How long a worker may be silent. */
  readonly leaseMs: number;
}

/** A worker on another machine, according to its last heartbeat. */
interface Remote {
  readonly beat: Heartbeat;
  readonly lastSeen: number;
}

/** All workers: what they do, what they can run, and whether they may take jobs. */
export class WorkerRegistry {
  readonly #options: WorkerRegistryOptions;
  readonly #remote = new Map<string, Remote>();
  #looked: { readonly wanted: readonly string[]; readonly at: number } = { wanted: [], at: -Infinity };

  constructor(options: WorkerRegistryOptions) {
    this.#options = options;
    const { ledger, runner } = options;
    this.save();
    if (ledger.workers.find(localWorker)?.draining) runner?.drain();
  }

  /** All workers, by id. */
  list(now: number = Date.now()): readonly WorkerObject[] {
    return this.#options.ledger.workers.all().flatMap((record) => {
      if (record.id === localWorker) return this.#localObject(record, now);
      return [this.#remoteObject(record, now)];
    });
  }

  /** Records a worker's heartbeat. @param standing of the attempt in it. */
  hear(id: string, beat: Heartbeat, standing: Standing | null, now: number = Date.now()): HeartbeatAnswer {
    const { ledger } = this.#options;
    const isNew = !this.#remote.has(id);
    this.#remote.set(id, { beat, lastSeen: now });
    if (isNew) this.#see(id, { beat, lastSeen: now });
    const wanted = this.#look(now).slice(0, mostWanted);
    return { worker: id, draining: ledger.workers.find(id)?.draining ?? false, standing, wanted };
  }

  /** Lets a worker finish its job and take no more. @throws {ServiceError} `not_found` */
  drain(id: string): WorkerObject {
    const worker = this.#setDraining(id, true);
    if (id === localWorker) this.#options.runner?.drain();
    return worker;
  }

  /** Lets a worker take jobs again. @throws {ServiceError} `not_found` */
  resume(id: string): WorkerObject {
    const worker = this.#setDraining(id, false);
    if (id === localWorker) this.#options.runner?.resume();
    return worker;
  }

  /** The names of models on workers' machines, and of those in their memory. */
  models(now: number = Date.now()): {
    readonly ready: ReadonlySet<string>;
    readonly loaded: ReadonlySet<string>;
  } {
    const living = [...this.#remote.values()].filter(({ lastSeen }) => this.#lives(lastSeen, now));
    const held = [this.#options.runner?.modelName, ...living.map(({ beat }) => beat.model)];
    return {
      ready: new Set(living.flatMap(({ beat }) => beat.models)),
      loaded: new Set(held.filter((name) => name != null)),
    };
  }

  /** Saves when workers were last seen, and forgets those that have been away for a day. */
  save(now: number = Date.now()): void {
    const { ledger, runner, device } = this.#options;
    ledger.write(() => {
      ledger.workers.forget(now - forgetMs);
      if (runner) {
        const memoryBytes = Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY);
        ledger.workers.see({ id: localWorker, device, memoryBytes, lastSeen: now });
      }
      for (const [id, remote] of this.#remote)
        if (remote.lastSeen < now - forgetMs) this.#remote.delete(id);
        else this.#see(id, remote);
    });
  }

  #see(id: string, { beat, lastSeen }: Remote): void {
    const { ledger } = this.#options;
    const facts = { id, device: beat.device, memoryBytes: beat.memory_bytes, lastSeen };
    ledger.write(() => ledger.workers.see(facts));
  }

  #localObject({ id, draining, device, memoryBytes }: WorkerRecord, now: number): readonly WorkerObject[] {
    const { runner } = this.#options;
    if (!runner) return [];
    const { job, modelName } = runner;
    const state = draining ? "draining" : job ? "busy" : "idle";
    return [{ id, state, model: modelName, job, device, memory_bytes: memoryBytes, last_seen: isoTime(now) }];
  }

  #remoteObject(record: WorkerRecord, now: number): WorkerObject {
    const { id, draining, device, memoryBytes } = record;
    const { beat, lastSeen } = this.#remote.get(id) ?? { beat: null, lastSeen: record.lastSeen };
    const job = beat?.attempt?.job ?? null;
    const state = !this.#lives(lastSeen, now) ? "lost" : draining ? "draining" : job ? "busy" : "idle";
    const isLost = state === "lost";
    return {
      id,
      state,
      model: isLost ? null : (beat?.model ?? null),
      job: isLost ? null : job,
      device,
      memory_bytes: memoryBytes,
      last_seen: isoTime(lastSeen),
    };
  }

  #setDraining(id: string, draining: boolean): WorkerObject {
    const { ledger } = this.#options;
    if (ledger.write(() => ledger.workers.setDraining(id, draining))) {
      const worker = this.list().find((one) => one.id === id);
      if (worker) return worker;
    }
    throw new ServiceError("not_found", "No worker has this id; GET /v1/workers lists them.");
  }

  #lives(lastSeen: number, now: number): boolean {
    return now - lastSeen < this.#options.leaseMs;
  }

  /** The models of waiting jobs. At intervals, warns jobs that no living worker can run. */
  #look(now: number): readonly string[] {
    const at = performance.now();
    if (at - this.#looked.at < lookMs) return this.#looked.wanted;
    this.#looked = { wanted: this.#options.ledger.jobs.queuedModels(), at };
    const living = [...this.#remote.values()].filter(({ lastSeen }) => this.#lives(lastSeen, now));
    // The worker of this process takes every job, and reports problems when it runs it.
    if (!this.#options.runner) for (const model of this.#looked.wanted) this.#warnIfNobodyCan(model, living);
    return this.#looked.wanted;
  }

  /** Warns a model's jobs once all workers have checked it and none can run it. */
  #warnIfNobodyCan(model: string, living: readonly Remote[]): void {
    const reasons = living.map(({ beat }) => beat.verdicts[model]);
    if (!reasons.every((reason) => typeof reason === "string") || reasons.length === 0) return;
    const reason = [...new Set(reasons)].sort().join(" ");
    this.#options.history.warnedQueued(model, `No worker can run this job. ${reason}`);
  }
}

const isoTime = (milliseconds: number): string => new Date(milliseconds).toISOString();
