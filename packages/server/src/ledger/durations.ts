import type { Connection } from "./database.js";

/** Measured times of a kind of job, in seconds. */
export interface Duration {
  readonly stepSeconds: number;
  /** Everything but the steps. */
  readonly otherSeconds: number;
}

/** The weight of the latest measurement. */
const weight = 0.3;

/** Averages of jobs' durations on this machine, weighted towards the latest. */
export class Durations {
  readonly #database: Connection;

  constructor(database: Connection) {
    this.#database = database;
  }

  find(workload: string): Duration | null {
    const row = this.#database
      .prepare(
        "SELECT step_seconds AS stepSeconds, other_seconds AS otherSeconds FROM durations WHERE workload = ?",
      )
      .get(workload);
    return (row as Duration | undefined) ?? null;
  }

  add(workload: string, { stepSeconds, otherSeconds }: Duration): void {
    this.#database
      .prepare(
        `INSERT INTO durations VALUES (@workload, @stepSeconds, @otherSeconds) ON CONFLICT DO UPDATE SET
           step_seconds = step_seconds + @weight * (excluded.step_seconds - step_seconds),
           other_seconds = other_seconds + @weight * (excluded.other_seconds - other_seconds)`,
      )
      .run({ workload, stepSeconds, otherSeconds, weight });
  }
}
