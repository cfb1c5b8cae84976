/* An API, a Redis and workers, as processes on this machine. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type FleetBench, progress } from "./fleet-bench.js";
import { median, type Row } from "./measure.js";
import { BenchRedis } from "./redis.js";
import { call, depthMap, residentBytes, type Server, start, stop } from "./serve.js";
import type { StubSettings } from "./stub-workers.js";

const token = "token-of-all-workers";
const round = (value: number): number => Math.round(value * 100) / 100;

/** An API with an empty ledger, and the Redis of its workers. */
class BenchFleet {
  static readonly #running = new Set<BenchFleet>();
  readonly api: Server;
  readonly redis: BenchRedis;
  readonly folder: string;
  readonly #workers: Server[] = [];
  #picture = "";

  private constructor(api: Server, redis: BenchRedis, folder: string) {
    this.api = api;
    this.redis = redis;
    this.folder = folder;
  }

  static async start(): Promise<BenchFleet> {
    const folder = mkdtempSync(join(tmpdir(), "mflux-depth-bench-"));
    const tokens = join(folder, "tokens");
    writeFileSync(tokens, `bench ${token}\n`);
    const redis = await BenchRedis.start();
    const flags = ["--role", "api", "--redis", redis.url, "--worker-token-file", tokens];
    const api = await start({ data: join(folder, "api"), flags: [...flags, "--max-queue", "100000"] });
    const fleet = new BenchFleet(api, redis, folder);
    BenchFleet.#running.add(fleet);
    return fleet;
  }

  /** Ends all of them at once. */
  static async stopAll(): Promise<void> {
    for (const fleet of BenchFleet.#running) await fleet.stop();
  }

  get ledger(): string {
    return join(this.folder, "api", "ledger.db");
  }

  /** Starts a worker with a real engine, which computes with one thread. */
  async worker(): Promise<void> {
    const data = join(this.folder, `worker${this.#workers.length}`);
    const flags = [
      "--role",
      "worker",
      "--redis",
      this.redis.url,
      "--api",
      this.api.printed,
      "--threads",
      "1",
    ];
    this.#workers.push(await start({ data, flags, env: { MFLUX_DEPTH_WORKER_TOKEN: token } }));
  }

  /** Submits jobs, eight at a time, and says every ten seconds how far that is. */
  async submit(count: number, request: object): Promise<void> {
    let left = count;
    if (this.#picture === "") {
      left--;
      this.#picture = (
        await call<{ request: { depth_image: { blob: string } } }>(this.api, "POST", "/v1/jobs", {
          kind: "generate",
          request: { ...request, depth_image: { base64: depthMap.toString("base64") } },
        })
      ).request.depth_image.blob;
    }
    const body = { kind: "generate", request: { ...request, depth_image: { blob: this.#picture } } };
    const report = setInterval(() => progress(`${count - left} of ${count} jobs submitted`), 10_000);
    try {
      await Promise.all(
        Array.from({ length: 8 }, async () => {
          while (left-- > 0) await call(this.api, "POST", "/v1/jobs", body);
        }),
      );
    } finally {
      clearInterval(report);
    }
  }

  async counts(): Promise<{ readonly queued: number; readonly succeeded: number }> {
    const text = await call<string>(this.api, "GET", "/metrics");
    const count = (state: string): number =>
      Number(new RegExp(`^mflux_depth_jobs\\{state="${state}"\\} (\\d+)`, "m").exec(text)![1]);
    return { queued: count("queued"), succeeded: count("succeeded") };
  }

  /** Waits until the given number of jobs has succeeded, or the time is over. */
  async succeeded(count: number, within = Number.POSITIVE_INFINITY): Promise<void> {
    const end = performance.now() + within;
    while (performance.now() < end && (await this.counts()).succeeded < count) await sleep(200);
  }

  async stop(): Promise<void> {
    BenchFleet.#running.delete(this);
    for (const server of [...this.#workers, this.api]) await stop(server, "SIGKILL");
    await this.redis.stop();
    rmSync(this.folder, { recursive: true });
  }
}

const small = { prompt: "a red cube", width: 128, height: 128, steps: 8, seed: 7 };

/** Ends what benches of fleets have started. */
export const stopFleets = (): Promise<void> => BenchFleet.stopAll();

/** How many jobs a minute workers finish that have a model each. Ideal is as many times that of one as there are cores. */
export async function benchThroughput({ scale, add }: FleetBench): Promise<void> {
  const each = Math.max(2, Math.round(20 * scale));
  let one = 0;
  for (const workers of [1, 2, 4]) {
    progress(`${workers} workers: starting`);
    const fleet = await BenchFleet.start();
    try {
      for (let n = 0; n < workers; n++) await fleet.worker();
      // Loads the models.
      await fleet.submit(4 * workers, small);
      await fleet.succeeded(4 * workers);
      const before = (await fleet.counts()).succeeded;
      progress(`${workers} workers: ${each * workers} jobs`);
      const began = performance.now();
      await fleet.submit(each * workers, small);
      await fleet.succeeded(before + each * workers);
      const perMinute = (60_000 * each * workers) / (performance.now() - began);
      if (workers === 1) one = perMinute;
      const ideal = one * Math.min(workers, availableParallelism());
      add({
        name: `${workers} workers, ${small.width}×${small.height}, ${small.steps} steps`,
        jobs: each * workers,
        "jobs/min": Math.round(perMinute),
        "ideal jobs/min": Math.round(ideal),
        "of ideal": `${Math.round((100 * perMinute) / ideal)} %`,
      });
    } finally {
      await fleet.stop();
    }
  }
}

/** How long Redis may take to get back everything that it has lost. */
const refillMs = 10 * 60_000;

/** What the API's process and the ledger take with many jobs that wait. */
export async function benchGrowth({ scale, add }: FleetBench): Promise<void> {
  const most = Math.round(100_000 * scale);
  const fleet = await BenchFleet.start();
  try {
    for (const share of [0.01, 0.1, 0.5, 1]) {
      const count = Math.round(most * share);
      const { queued } = await fleet.counts();
      progress(`${queued} of ${count} jobs wait`);
      const began = performance.now();
      await fleet.submit(count - queued, small);
      const seconds = (performance.now() - began) / 1000;
      add({
        name: `${count} jobs wait`,
        "API MB": Math.round(residentBytes(fleet.api.child) / 1e6),
        "ledger MB": Math.round(statSync(fleet.ledger).size / 1e6),
        "Redis MB": Math.round(fleet.redis.residentBytes / 1e6),
        "submitted/s": Math.round((count - queued) / seconds),
      });
    }
    progress("FLUSHALL");
    const began = performance.now();
    await fleet.redis.flush();
    const waiting = async (): Promise<number> => {
      const text = await call<string>(fleet.api, "GET", "/metrics");
      return Number(/^mflux_depth_redis_waiting_jobs (\d+)/m.exec(text)?.[1]);
    };
    let back = 0;
    while (back < most && performance.now() - began < refillMs) {
      await sleep(500);
      back = await waiting();
    }
    add({ name: `FLUSHALL: ${back} offered again`, s: round((performance.now() - began) / 1000) });
  } finally {
    await fleet.stop();
  }
}

/** The processor seconds used by a process. */
function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

const stubProgram = fileURLToPath(new URL("stub-workers.js", import.meta.url));

/** How long each part of a simulation may take. Beyond that, the figures are those of what was done by then. */
const partMs = 90_000;

/** Many workers that need no processor for their jobs: what they ask of the API and of Redis. */
export async function simulate(
  count: number,
  { steps, stepMs }: Pick<StubSettings, "steps" | "stepMs">,
): Promise<Row> {
  const processes = 2;
  const fleet = await BenchFleet.start();
  const children: ChildProcess[] = [];
  try {
    progress(`${count} workers: submitting ${3 * count} jobs`);
    await call(fleet.api, "POST", "/v1/queue/pause");
    await fleet.submit(3 * count, { ...small, steps });
    progress(`${count} workers: starting`);
    for (let at = 0; at < processes; at++) {
      const settings: StubSettings = {
        ...{ api: fleet.api.printed, redis: fleet.redis.url, token },
        ...{ first: (at * count) / processes, count: count / processes, steps, stepMs },
      };
      const child = spawn(process.execPath, [stubProgram, JSON.stringify(settings)], {
        stdio: ["pipe", "pipe", "inherit"],
      });
      children.push(child);
      await once(createInterface(child.stdout!), "line");
    }
    progress(`${count} workers: working`);
    const resumed = performance.now();
    const elapsed = (): number => performance.now() - resumed;
    await call(fleet.api, "POST", "/v1/queue/resume");
    while (elapsed() < partMs && (await fleet.counts()).queued > 2 * count) await sleep(50);
    const allBusy = elapsed() < partMs ? round(elapsed() / 1000) : "never";
    // From the middle of the first jobs' ends to the middle of the second ones': a whole round, in which all are busy.
    await fleet.succeeded(count / 2, partMs);
    progress(`${count} workers: measuring`);
    const pids = [fleet.api.child.pid!, fleet.redis.pid, ...children.map(({ pid }) => pid!)];
    const before = { counts: await fleet.counts(), processor: pids.map(processorSeconds) };
    const began = performance.now();
    const answers: number[] = [];
    while (performance.now() - began < partMs && (await fleet.counts()).succeeded < 1.5 * count) {
      const asked = performance.now();
      await call(fleet.api, "GET", "/v1/queue");
      answers.push(performance.now() - asked);
      await sleep(200);
    }
    const seconds = (performance.now() - began) / 1000;
    const finished = (await fleet.counts()).succeeded - before.counts.succeeded;
    const [api, redis, ...stubs] = pids.map(
      (pid, at) => (processorSeconds(pid) - before.processor[at]!) / seconds,
    );
    return {
      name: `${count} workers, ${steps} steps of ${stepMs / 1000} s`,
      "all busy after s": allBusy,
      "jobs/s": round(finished / seconds),
      "ideal jobs/s": round((1000 * count) / (stepMs * steps)),
      "API cores": round(api!),
      "Redis cores": round(redis!),
      // Those of the simulated workers: where all of them together reach the machine's cores, they are the limit.
      "stub cores": round(stubs.reduce((sum, cores) => sum + cores, 0)),
      "API MB": Math.round(residentBytes(fleet.api.child) / 1e6),
      "GET /v1/queue ms": round(median(answers)),
    };
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await fleet.stop();
  }
}

export async function benchSimulation({ scale, add }: FleetBench): Promise<void> {
  // As many in each of two processes.
  for (const [workers, steps, stepMs] of [
    [100, 20, 1000],
    [300, 20, 1000],
    [1000, 5, 4000],
    [1000, 20, 1000],
    [1500, 5, 4000],
    [2000, 5, 4000],
  ] as const)
    add(await simulate(2 * Math.max(1, Math.round((workers * scale) / 2)), { steps, stepMs }));
}
