/* A worker in a separate process, which may have to wait for its API. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { after } from "node:test";
import type { Owner } from "./scope.js";
import { bin, temporaryFolder } from "./server.js";

export interface WorkerOptions {
  readonly redis: string;
  /** The address of the API. */
  readonly api: string;
  readonly token: string;
  readonly env?: Readonly<Record<string, string>>;
  /** It is killed when this ends; by default after the tests of the file. */
  readonly owner?: Pick<Owner, "after">;
}

export class WorkerProcess {
  readonly child: ChildProcess;
  /** Resolves with the worker's id once the API knows it. */
  readonly known: Promise<string>;
  /** Everything on standard error so far. */
  log = "";

  constructor({ redis, api, token, env = {}, owner = { after } }: WorkerOptions) {
    const argv = ["serve", "--role", "worker", "--data", temporaryFolder(owner), "--api", api];
    const model = ["--model", "tiny-world", "-q", "none", "--device", "cpu"];
    const child = spawn(process.execPath, [bin, ...argv, ...model], {
      env: {
        ...process.env,
        HF_HUB_OFFLINE: "1",
        MFLUX_DEPTH_REDIS: redis,
        MFLUX_DEPTH_WORKER_TOKEN: token,
        ...env,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    owner.after(() => child.kill("SIGKILL"));
    this.child = child;
    this.known = once(createInterface(child.stdout), "line").then(([id]) => id as string);
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.log += text;
    });
  }
}
