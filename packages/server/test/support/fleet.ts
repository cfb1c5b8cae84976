/*
 * A fleet of real processes: an API, workers and a Redis, each reached through networks that can be cut.
 */
import { readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { JobObject, WorkerObject } from "../../src/contract/index.js";
import { allEvents, type ReceivedEvent } from "./events.js";
import { RedisServer } from "./redis.js";
import type { Owner } from "./scope.js";
import { TestServer, temporaryFolder } from "./server.js";
import { TcpProxy } from "./tcp-proxy.js";
import { WorkerProcess } from "./worker-process.js";

/** A worker, and its lines to the API and to Redis. */
export interface TestWorker {
  readonly id: string;
  readonly process: TestServer;
  readonly toApi: TcpProxy;
  readonly toRedis: TcpProxy;
}

export interface FleetOptions {
  /** How long a worker may be silent. */
  readonly leaseMs?: number;
  /** Further flags of the API. */
  readonly apiFlags?: readonly string[];
  readonly clientToken?: string;
  /** Further environment of the API. */
  readonly apiEnv?: Readonly<Record<string, string>>;
  /** Whether the API works, too. */
  readonly apiWorks?: boolean;
  /** Environment of all processes. */
  readonly env?: Readonly<Record<string, string>>;
}

export class Fleet {
  readonly redis: RedisServer;
  readonly #t: Owner;
  readonly #env: Readonly<Record<string, string>>;
  readonly #apiFlags: readonly string[];
  readonly #tokens: string;
  readonly #names = new Set<string>();
  #api!: TestServer;

  private constructor(t: Owner, redis: RedisServer, options: FleetOptions) {
    const { leaseMs, apiFlags = [], clientToken, apiWorks = false, env = {} } = options;
    this.#t = t;
    this.#tokens = join(temporaryFolder(t), "tokens");
    this.redis = redis;
    this.#env = {
      ...env,
      ...(leaseMs !== undefined && { MFLUX_DEPTH_LEASE_MS: `${leaseMs}` }),
      ...(clientToken !== undefined && { MFLUX_DEPTH_TOKEN: clientToken }),
    };
    const flags = [
      "--role",
      apiWorks ? "all" : "api",
      "--redis",
      redis.url,
      "--worker-token-file",
      this.#tokens,
    ];
    this.#apiFlags = [...flags, ...apiFlags];
  }

  static async start(t: Owner, options: FleetOptions = {}): Promise<Fleet> {
    const fleet = new Fleet(t, await RedisServer.start(t), options);
    fleet.allow();
    fleet.#api = await TestServer.start({
      owner: t,
      argv: fleet.#apiFlags,
      env: { ...fleet.#env, ...options.apiEnv },
    });
    return fleet;
  }

  /** The token of a worker, by its name. */
  static tokenOf(name: string): string {
    return `token-of-the-worker-${name}`;
  }

  get api(): TestServer {
    return this.#api;
  }

  /** Adds workers to the file of tokens. */
  allow(...names: readonly string[]): void {
    for (const name of names) this.#names.add(name);
    this.#writeTokens();
  }

  /** Takes the token of a worker out of the file. */
  revoke(name: string): void {
    this.#names.delete(name);
    this.#writeTokens();
  }

  /** Starts a worker, with a token of its own. It is known to the API when the promise resolves. */
  async worker(name: string, argv: readonly string[] = []): Promise<TestWorker> {
    this.allow(name);
    const toApi = await TcpProxy.listen({ port: this.#api.port, host: "127.0.0.1" });
    this.#t.after(() => toApi.close());
    const { url, proxy: toRedis } = await this.redis.anotherNetwork(this.#t);
    const process = await TestServer.start({
      owner: this.#t,
      argv: ["--role", "worker", "--redis", url, "--api", `http://127.0.0.1:${toApi.port}`, ...argv],
      env: { ...this.#env, MFLUX_DEPTH_WORKER_TOKEN: Fleet.tokenOf(name) },
    });
    return { id: process.url, process, toApi, toRedis };
  }

  /** Starts a worker that the API may refuse. Nothing is between it and the others. */
  workerThatWaits(name: string, env: Readonly<Record<string, string>>): WorkerProcess {
    this.allow(name);
    return new WorkerProcess({
      redis: this.redis.url,
      api: this.#api.url,
      token: Fleet.tokenOf(name),
      env: { ...this.#env, ...env },
      owner: this.#t,
    });
  }

  /** Kills the API and starts it again, on the same port and with the same data. */
  async restartApi(env: Readonly<Record<string, string>> = {}): Promise<void> {
    const { data, port } = this.#api;
    await this.#api.stop("SIGKILL");
    this.#api = await TestServer.start({
      owner: this.#t,
      argv: this.#apiFlags,
      env: { ...this.#env, ...env },
      data,
      port,
    });
  }

  /** Starts an API with the same flags, and by default with a data folder of its own. @throws what it says if it ends. */
  async anotherApi({
    data,
    redis,
  }: {
    readonly data?: string;
    readonly redis?: string;
  } = {}): Promise<TestServer> {
    const place = data === undefined ? {} : { data };
    const argv = redis === undefined ? this.#apiFlags : [...this.#apiFlags, "--redis", redis];
    return TestServer.start({ owner: this.#t, argv, env: this.#env, ...place });
  }

  async workers(): Promise<readonly WorkerObject[]> {
    return ((await (await this.#api.fetch("/v1/workers")).json()) as { data: WorkerObject[] }).data;
  }

  /** Waits until a worker is in a state. */
  async state(id: string, state: WorkerObject["state"]): Promise<WorkerObject> {
    return until(async () => (await this.workers()).find((one) => one.id === id && one.state === state));
  }

  async job(id: string): Promise<JobObject> {
    return (await (await this.#api.fetch(`/v1/jobs/${id}`)).json()) as JobObject;
  }

  /** Waits until a job has ended. */
  ended(id: string): Promise<JobObject> {
    return this.#api.finished(id);
  }

  /** Waits until a job runs, and has done some steps. */
  async reached(id: string, step: number): Promise<JobObject> {
    return until(async () => {
      const job = await this.job(id);
      return job.state === "running" && job.step >= step ? job : undefined;
    });
  }

  /** Waits until the API has a checkpoint of a job. */
  async checkpointed(id: string): Promise<void> {
    const folder = join(this.#api.data, "checkpoints");
    await until(async () => {
      const names = readdirSync(folder).filter((name) => name.startsWith(`${id}.`));
      return names.some((name) => name.endsWith(".latents")) || undefined;
    });
  }

  /** All events of a job that has ended. */
  events(id: string): Promise<readonly ReceivedEvent[]> {
    return allEvents(this.#api, `/v1/jobs/${id}/events?after=0`);
  }

  /** Replaces the file in one step, because the API refuses every worker whose line is missing when it reads. */
  #writeTokens(): void {
    const lines = [...this.#names].map((name) => `${name} ${Fleet.tokenOf(name)}\n`);
    const written = `${this.#tokens}.new`;
    writeFileSync(written, `# name and token\n${lines.join("")}`);
    renameSync(written, this.#tokens);
  }
}

/** Asks until there is an answer. */
export async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (const deadline = Date.now() + 240_000; Date.now() < deadline; ) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await sleep(100);
  }
  throw new Error("It has not happened within four minutes.");
}
