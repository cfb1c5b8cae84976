import prometheus = require("prom-client");

import { type JobState, type WorkerObject, workerStates } from "../contract/index.js";
import type { Measurement } from "../jobs/settings.js";

/** Metrics for Prometheus. Labels never contain ids or prompts. */
export class Metrics {
  readonly registry = new prometheus.Registry();
  readonly #registers = [this.registry];

  readonly #jobs = new prometheus.Gauge({
    name: "mflux_depth_jobs",
    help: "Jobs in the ledger, by state.",
    labelNames: ["state"],
    registers: this.#registers,
  });
  readonly #workers = new prometheus.Gauge({
    name: "mflux_depth_workers",
    help: "Workers by state; lost ones are forgotten after a day.",
    labelNames: ["state"],
    registers: this.#registers,
  });
  /** Metrics of Redis; null until it is used. */
  #redis: { readonly up: prometheus.Gauge; readonly waiting: prometheus.Gauge } | null = null;
  readonly sseClients = new prometheus.Gauge({
    name: "mflux_depth_sse_clients",
    help: "Open streams of events.",
    registers: this.#registers,
  });
  readonly #outcomes = new prometheus.Counter({
    name: "mflux_depth_jobs_total",
    help: "Jobs that ended since this process started, by outcome.",
    labelNames: ["outcome"],
    registers: this.#registers,
  });
  readonly #counts = {
    claim: this.#counter("mflux_depth_claims_total", "Attempts begun by workers since this process started."),
    takeover: this.#counter(
      "mflux_depth_takeovers_total",
      "Jobs taken over from silent workers since this process started.",
    ),
  };
  readonly #seconds = {
    queue_wait: this.#histogram(
      "mflux_depth_queue_wait_seconds",
      "Time from a job's arrival to its first start.",
      [0.01, 0.1, 1, 10, 60, 600, 3600, 36_000],
    ),
    job: this.#histogram(
      "mflux_depth_job_duration_seconds",
      "Time from a job's first start to its end.",
      [0.1, 1, 5, 15, 60, 300, 900, 3600, 14_400],
    ),
    step: this.#histogram(
      "mflux_depth_step_duration_seconds",
      "Time of a denoising step.",
      [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300],
    ),
    model_load: this.#histogram(
      "mflux_depth_model_load_seconds",
      "Time to load a model.",
      [0.1, 1, 5, 15, 60, 300, 900],
    ),
  };

  constructor() {
    for (const outcome of ["succeeded", "failed", "cancelled"]) this.#outcomes.inc({ outcome }, 0);
  }

  /** Sets the number of jobs in each state. */
  setJobs(counts: Readonly<Record<JobState, number>>): void {
    for (const [state, count] of Object.entries(counts)) this.#jobs.set({ state }, count);
  }

  setWorkers(workers: readonly Pick<WorkerObject, "state">[]): void {
    for (const state of workerStates)
      this.#workers.set({ state }, workers.filter((worker) => worker.state === state).length);
  }

  /** @param waiting null while Redis is unreachable. */
  setRedis({ up, waiting }: { readonly up: boolean; readonly waiting: number | null }): void {
    this.#redis ??= {
      up: this.#gauge("mflux_depth_redis_up", "1 if Redis can be reached, otherwise 0."),
      waiting: this.#gauge("mflux_depth_redis_waiting_jobs", "Jobs that wait in Redis for a worker."),
    };
    this.#redis.up.set(up ? 1 : 0);
    this.#redis.waiting.set(waiting ?? Number.NaN);
  }

  readonly observe = (measurement: Measurement): void => {
    if (!("seconds" in measurement)) {
      this.#counts[measurement.name].inc();
      return;
    }
    this.#seconds[measurement.name].observe(measurement.seconds);
    if (measurement.name === "job") this.#outcomes.inc({ outcome: measurement.outcome });
  };

  #counter(name: string, help: string): prometheus.Counter {
    return new prometheus.Counter({ name, help, registers: this.#registers });
  }

  #gauge(name: string, help: string): prometheus.Gauge {
    return new prometheus.Gauge({ name, help, registers: this.#registers });
  }

  #histogram(name: string, help: string, buckets: number[]): prometheus.Histogram {
    return new prometheus.Histogram({ name, help, buckets, registers: this.#registers });
  }
}
