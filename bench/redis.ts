/* A Redis for a bench, in a separate process. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { residentBytes } from "./serve.js";

export class BenchRedis {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #port: number;

  private constructor(child: ChildProcess, folder: string, port: number) {
    this.#child = child;
    this.#folder = folder;
    this.#port = port;
  }

  /** @throws if `redis-server` is not installed. */
  static async start(): Promise<BenchRedis> {
    const folder = mkdtempSync(join(tmpdir(), "mflux-depth-bench-"));
    const port = await freePort();
    const flags = ["--bind", "127.0.0.1", "--port", `${port}`, "--save", "", "--appendonly", "no"];
    const child = spawn("redis-server", flags, { cwd: folder, stdio: ["ignore", "pipe", "ignore"] });
    await once(child, "spawn");
    for await (const line of createInterface(child.stdout)) if (line.includes("Ready to accept")) break;
    child.stdout.resume();
    return new BenchRedis(child, folder, port);
  }

  get url(): string {
    return `redis://127.0.0.1:${this.#port}`;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Resident memory, in bytes. */
  get residentBytes(): number {
    return residentBytes(this.#child);
  }

  /** Removes everything stored in it. */
  async flush(): Promise<void> {
    const socket = connect(this.#port, "127.0.0.1");
    socket.write("FLUSHALL\r\n");
    await once(socket, "data");
    socket.destroy();
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
    rmSync(this.#folder, { recursive: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
