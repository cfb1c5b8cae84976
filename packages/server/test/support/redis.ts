/*
 * A real Redis of a test's own.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { temporaryFolder } from "./folder.js";
import type { Owner } from "./scope.js";
import { type Cut, TcpProxy } from "./tcp-proxy.js";

/**
 * For the `skip` of tests that need Redis: a sentence on a machine without it. With MFLUX_DEPTH_TEST_REDIS=required they
 * fail instead.
 */
export const withoutRedis: string | false =
  process.env.MFLUX_DEPTH_TEST_REDIS !== "required" && spawnSync("redis-server", ["--version"]).error
    ? "redis-server is not installed; install Redis (Debian: apt-get install redis-server) to run these tests."
    : false;

export interface RedisServerOptions {
  readonly password?: string;
  /** Keeps what it has when it is killed. */
  readonly durable?: boolean;
}

/** A Redis in a separate process, behind a network that can be cut. It keeps its address when it is restarted. */
export class RedisServer {
  readonly #proxy: TcpProxy;
  readonly #folder: string;
  readonly #options: RedisServerOptions;
  #child: ChildProcess | null = null;

  private constructor(proxy: TcpProxy, folder: string, options: RedisServerOptions) {
    this.#proxy = proxy;
    this.#folder = folder;
    this.#options = options;
  }

  /** It is killed after the test. */
  static async start(t: Owner, options: RedisServerOptions = {}): Promise<RedisServer> {
    const folder = temporaryFolder(t);
    const proxy = await TcpProxy.listen({ path: socketOf(folder) });
    const server = new RedisServer(proxy, folder, options);
    t.after(async () => {
      proxy.close();
      await server.kill();
    });
    await server.restart();
    return server;
  }

  get url(): string {
    const { password } = this.#options;
    return `redis://${password === undefined ? "" : `:${password}@`}127.0.0.1:${this.#proxy.port}`;
  }

  /** Another address of it, through a separate network. */
  async anotherNetwork(t: Owner): Promise<{ readonly url: string; readonly proxy: TcpProxy }> {
    const proxy = await TcpProxy.listen({ path: socketOf(this.#folder) });
    t.after(() => proxy.close());
    return { url: `redis://127.0.0.1:${proxy.port}`, proxy };
  }

  /** A client for looking behind the dispatcher's back; closed after the test. */
  client(t: Owner): Redis {
    const redis = new Redis(this.url);
    t.after(() => redis.disconnect());
    return redis;
  }

  cut(how: Cut): void {
    this.#proxy.cut(how);
  }

  restore(): void {
    this.#proxy.restore();
  }

  /** Ends it as a loss of power would. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, "exit");
    child.kill("SIGKILL");
    await exit;
  }

  /** Starts it, empty unless it is durable. */
  async restart(): Promise<void> {
    const { password, durable = false } = this.#options;
    const flags = [
      ...["--port", "0", "--unixsocket", socketOf(this.#folder), "--dir", this.#folder],
      ...["--save", "", "--appendonly", durable ? "yes" : "no", "--appendfsync", "always"],
      ...(password === undefined ? [] : ["--requirepass", password]),
    ];
    const child = spawn("redis-server", flags, { stdio: "ignore" });
    this.#child = child;
    const failed = once(child, "exit").then(([code]) => {
      throw new Error(`redis-server ended with ${code}.`);
    });
    failed.catch(() => {});
    await Promise.race([listening(socketOf(this.#folder)), failed]);
  }
}

const socketOf = (folder: string): string => join(folder, "redis.sock");

/** Resolves once something listens at the path of a socket. */
async function listening(path: string): Promise<void> {
  for (;;) {
    const socket = connect({ path });
    const opened = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
    });
    socket.destroy();
    if (opened) return;
    await sleep(10);
  }
}
