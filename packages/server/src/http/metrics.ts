import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { Measurement } from "../jobs/settings.js";

/** Figures for Prometheus. None has ids or prompts as labels. */
export class Metrics {
  readonly registry = new Registry();
  readonly #registers = [this.registry];

  /** Set from the ledger when they are read. */
  readonly jobs = new Gauge({
    name: "mflux_depth_jobs",
    help: "Jobs in the ledger, by state.",
    labelNames: ["state"],
    registers: this.#registers,
  });
  /** Set when they are read. */
  readonly workers = new Gauge({
    name: "mflux_depth_workers",
    help: "Workers, by state.",
    labelNames: ["state"],
    registers: this.#registers,
  });
  readonly sseClients = new Gauge({
    name: "mflux_depth_sse_clients",
    help: "Open streams of events.",
    registers: this.#registers,
  });
  readonly #outcomes = new Counter({
    name: "mflux_depth_jobs_total",
    help: "Jobs that ended since this process started, by outcome.",
    labelNames: ["outcome"],
    registers: this.#registers,
  });
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

  readonly observe = (measurement: Measurement): void => {
    this.#seconds[measurement.name].observe(measurement.seconds);
    if (measurement.name === "job") this.#outcomes.inc({ outcome: measurement.outcome });
  };

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name, help, buckets, registers: this.#registers });
  }
}
