/*
 * What makes a server one of a fleet: a Redis of its own, and workers in processes of their own.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout } from "node:timers/promises";

/**
 * For the `skip` of tests that need Redis: a sentence on a machine without it. With MFLUX_DEPTH_TEST_REDIS=required they
 * fail instead.
 */
export const withoutRedis: string | false =
  process.env.MFLUX_DEPTH_TEST_REDIS !== "required" && spawnSync("redis-server", ["--version"]).error
    ? "redis-server is not installed; install Redis (Debian: apt-get install redis-server) to run these tests."
    : false;

const tokenOf = (worker: string): string => `token-of-the-worker-${worker}`;

/** Workers and the Redis between them and their API. */
export class Fleet {
  readonly #processes: ChildProcess[] = [];
  readonly #folder: string;
  readonly #redis: string;
  readonly #tokens: string;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.#redis = `redis://127.0.0.1:${port}`;
    this.#tokens = join(folder, "tokens");
  }

  /** Starts the Redis of a fleet, and writes the tokens of its workers. @param folder for its files */
  static async start(folder: string, workers: readonly string[]): Promise<Fleet> {
    const port = await freePort();
    const fleet = new Fleet(folder, port);
    writeFileSync(fleet.#tokens, workers.map((name) => `${name} ${tokenOf(name)}\n`).join(""));
    const redis = spawn("redis-server", ["--port", `${port}`, "--dir", folder, "--save", ""], {
      stdio: "ignore",
    });
    fleet.#processes.push(redis);
    const failed = once(redis, "exit").then(([code]) => {
      throw new Error(`redis-server ended with ${code}.`);
    });
    // It also ends after the tests.
    failed.catch(() => undefined);
    await Promise.race([listening(port), failed]);
    return fleet;
  }

  /** The flags of the fleet's API. */
  get apiFlags(): readonly string[] {
    return ["--role", "api", "--redis", this.#redis, "--worker-token-file", this.#tokens];
  }

  /** Starts a worker, which its API knows when the promise resolves. @param command of `mflux-depth`, with its flags */
  async startWorker(
    name: string,
    command: readonly string[],
    api: string,
    environment: NodeJS.ProcessEnv,
  ): Promise<void> {
    const worker = spawn(
      process.execPath,
      [
        ...[...command, "--role", "worker", "--redis", this.#redis, "--api", api],
        ...["--port", "0", "--data", join(this.#folder, name)],
      ],
      {
        env: { ...environment, MFLUX_DEPTH_WORKER_TOKEN: tokenOf(name) },
        stdio: ["ignore", "pipe", "ignore"],
      },
    );
    this.#processes.push(worker);
    const ended = once(worker, "exit").then(([code]) => {
      throw new Error(`the worker ${name} ended with ${code}.`);
    });
    ended.catch(() => undefined);
    await Promise.race([once(createInterface(worker.stdout), "line"), ended]);
  }

  /** Kills all of it. */
  async close(): Promise<void> {
    await Promise.all(
      this.#processes.map(async (child) => {
        if (child.exitCode !== null || child.signalCode !== null) return;
        const exit = once(child, "exit");
        child.kill("SIGKILL");
        await exit;
      }),
    );
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Resolves once something listens at a port. */
async function listening(port: number): Promise<void> {
  for (;;) {
    const socket = connect(port, "127.0.0.1");
    const opened = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    socket.destroy();
    if (opened) return;
    await setTimeout(20);
  }
}
