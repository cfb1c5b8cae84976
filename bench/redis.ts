/*
 * A Redis for a bench, in a process of its own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export class BenchRedis {
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(child: ChildProcess, folder: string) {
    this.#child = child;
    this.#folder = folder;
  }

  /** @throws if `redis-server` is not installed. */
  static async start(): Promise<BenchRedis> {
    const folder = mkdtempSync(join(tmpdir(), "mflux-depth-bench-"));
    const flags = ["--port", "0", "--unixsocket", "redis.sock", "--save", "", "--appendonly", "no"];
    const child = spawn("redis-server", flags, { cwd: folder, stdio: "ignore" });
    await once(child, "spawn");
    const redis = new BenchRedis(child, folder);
    while (!existsSync(redis.url)) await sleep(10);
    return redis;
  }

  /** The path of its socket, which the client takes for an address. */
  get url(): string {
    return join(this.#folder, "redis.sock");
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
    rmSync(this.#folder, { recursive: true });
  }
}
