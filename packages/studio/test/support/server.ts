/*
 * A real server: `mflux-depth serve` with the bundled model and a data folder of its own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { JobObject } from "@mflux-depth/server/contract";
import Database from "better-sqlite3";
import { Fleet } from "./fleet.js";
import { pacedBy } from "./pace.js";
import { patience } from "./patience.js";

const packages = fileURLToPath(new URL("../../../../", import.meta.url));
const command = join(packages, "mflux-depth/bin/mflux-depth.js");

export interface ServerOptions {
  readonly token?: string;
  /** Further flags of the command line. */
  readonly flags?: readonly string[];
  /** Names of workers in processes of their own, which do all the work. */
  readonly workers?: readonly string[];
}

/** The command with the flags that a server and its workers share. */
const serve = [command, "serve", "--model", "tiny-world", "-q", "none", "--device", "cpu"];

export class StudioServer {
  readonly #folder = mkdtempSync(join(tmpdir(), "mflux-depth-studio-"));
  readonly #pace = join(this.#folder, "pace");
  readonly #environment: NodeJS.ProcessEnv = {
    ...process.env,
    ...pacedBy(this.#pace),
    HF_HUB_OFFLINE: "1",
    // Workers send a heartbeat in each third of a lease.
    MFLUX_DEPTH_LEASE_MS: "9000",
  };
  readonly #token: string | undefined;
  #process: ChildProcess | null = null;
  #port = 0;

  readonly #flags: string[];
  #fleet: Fleet | null = null;

  private constructor({ token, flags = [] }: ServerOptions) {
    this.#token = token;
    this.#flags = [...flags];
  }

  static async start(options: ServerOptions = {}): Promise<StudioServer> {
    const server = new StudioServer(options);
    const { workers = [] } = options;
    if (workers.length > 0) {
      server.#fleet = await Fleet.start(server.#folder, workers);
      server.#flags.push(...server.#fleet.apiFlags);
    }
    await server.#spawn();
    for (const name of workers)
      await server.#fleet?.startWorker(name, serve, server.url, server.#environment);
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async #spawn(): Promise<void> {
    const { MFLUX_DEPTH_TOKEN: _, ...environment } = this.#environment;
    const child = spawn(
      process.execPath,
      [...serve, "--port", String(this.#port), "--data", this.#folder, ...this.#flags],
      {
        env: { ...environment, ...(this.#token && { MFLUX_DEPTH_TOKEN: this.#token }) },
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    this.#process = child;
    let log = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
    const ended = once(child, "exit").then(([code]) => {
      throw new Error(`the server ended with ${code}:\n${log}`);
    });
    // It also ends after the tests, when nobody waits for it any more.
    ended.catch(() => undefined);
    const [line] = (await Promise.race([once(createInterface(child.stdout), "line"), ended])) as [string];
    // A server that starts again keeps its port, because pages are open on it.
    this.#port = Number(new URL(line).port);
  }

  /** Kills the server without warning. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (!child) return;
    this.#process = null;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  /** Starts the server again after {@link kill}, at the same address and with the same data. */
  restart(): Promise<void> {
    return this.#spawn();
  }

  /** Stretches jobs of this many steps to the longest time that a page may take. They wait; they compute no more than usual. */
  slowDown(steps: number): void {
    // The first odd numbers add up to the square of their count.
    writeFileSync(this.#pace, String(patience / steps ** 2));
  }

  /** Takes back {@link slowDown}: the running job goes on at its usual speed. */
  speedUp(): void {
    rmSync(this.#pace, { force: true });
  }

  async close(): Promise<void> {
    await this.kill();
    await this.#fleet?.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** Sends a request past the page. */
  async ask<T>(path: string, options: RequestInit = {}): Promise<T> {
    const response = await fetch(this.url + path, {
      ...options,
      headers: {
        ...this.#authorization,
        ...(typeof options.body === "string" && { "content-type": "application/json" }),
        ...(options.headers as Record<string, string> | undefined),
      },
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response.status === 204 ? (undefined as T) : ((await response.json()) as T);
  }

  /** All jobs, newest first. */
  async jobs(): Promise<readonly JobObject[]> {
    return (await this.ask<{ data: JobObject[] }>("/v1/jobs?limit=200")).data;
  }

  /** Copies the newest job that has an image, `count` times, each with a prompt of its own: history that takes no time to make. */
  copyNewestImage(count: number, prompt: (index: number) => string): void {
    const ledger = new Database(join(this.#folder, "ledger.db"));
    const ids = Array.from({ length: count }, () => randomUUID().replace(/^(.{14})./, "$17"));
    ledger.function("new_id", (index) => ids[index as number]!);
    ledger.function("new_prompt", (index) => prompt(index as number));
    const copied = [
      ...[
        "kind",
        "state",
        "cancel_requested",
        "priority",
        "created_at",
        "started_at",
        "finished_at",
        "attempt",
      ],
      ...["step", "steps", "seed", "load", "model", "preview_every", "metadata"],
    ].join();
    const files = "name, sha256, mime, width, height, bytes, seed, score";
    const numbers = `WITH RECURSIVE numbers(number) AS
      (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number + 1 < ${count})`;
    ledger.exec(`
      BEGIN;
      CREATE TEMP TABLE newest AS SELECT * FROM jobs WHERE state = 'succeeded' ORDER BY arrival DESC LIMIT 1;
      ${numbers} INSERT INTO jobs (id, created_at, request, search_text, ${copied})
        SELECT new_id(number), created_at + 1 + number, json_set(request, '$.prompt', new_prompt(number)), new_prompt(number), ${copied}
        FROM numbers, newest;
      ${numbers} INSERT INTO artifacts (job_id, ${files})
        SELECT new_id(number), ${files} FROM numbers, artifacts
        WHERE job_id = (SELECT id FROM newest);
      COMMIT;`);
    ledger.close();
  }

  /** Waits until a job has ended. */
  async finished(id: string): Promise<void> {
    await (await fetch(`${this.url}/v1/jobs/${id}/events`, { headers: this.#authorization })).text();
  }

  get #authorization(): Record<string, string> {
    return this.#token ? { authorization: `Bearer ${this.#token}` } : {};
  }
}
